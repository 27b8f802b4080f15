// Package faults is the fault suite: it runs the program as it ships between two real Mosquittos, over lines that fail on
// command, breaks something while numbered messages flow, and counts what arrives at the far end.
//
// There is nothing here but tests. "go test" runs a short version; "make faults", which sets CLOUDBRIDGE_FAULTS=full, runs
// everything and takes some minutes. Both end with the table: fault, sent, delivered, lost, duplicated, out of order,
// recovery time.
//
// Sent are the messages that Mosquitto has acknowledged to the publisher; of the others nothing is promised. Mosquitto runs
// with max_queued_messages 0, for by default it drops what goes beyond 1,000 messages for a client that is away: the
// acknowledgement is then no promise, and nobody behind it can keep one. Out of order is counted for each topic after
// duplicates are taken out. The recovery time runs from the end of the fault until everything that was acknowledged before has
// arrived, and the first that was acknowledged after.
package faults
