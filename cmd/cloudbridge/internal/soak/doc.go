// Package soak runs the program as it ships for a long time, under a load of every kind and with faults at random, and
// watches that it loses nothing and that nothing of it grows: memory, goroutines, open files, the queue on disk.
//
// There is nothing here but tests. "go test" runs half a minute; "make soak" runs 30 minutes and draws docs/soak.svg. The
// environment says otherwise:
//
//	CLOUDBRIDGE_SOAK=2h            how long
//	CLOUDBRIDGE_SOAK_SEED=7        the same faults as a run that printed this seed
//	CLOUDBRIDGE_SOAK_OUT=folder    where soak.csv, one line for each sample, and soak.svg go; nowhere without it
//
// The bridge stands between a real Mosquitto of the house and four clouds: a second Mosquitto, and the emulators of
// HiveMQ Cloud, ThingSpeak and Adafruit IO. Each line goes through a proxy that fails on command. The bridge itself is never
// restarted, for what it holds is what is watched.
//
// A sample is quiet when nothing is broken, all links are up, and next to nothing waits. What is quiet is compared with what
// is quiet, so that no backlog looks like a leak: the last third of the run with the second, the first being for warming
// up; and a calm minute before the first fault with one after the last.
package soak
