package faults

import (
	"strings"
	"time"

	"cloudbridge/internal/faultproxy"
	"cloudbridge/internal/mqtt/mqtttest"
)

// inFlight is how many messages a default Mosquitto takes over MQTT 5 before it has confirmed the first: so many may come
// twice when a connection is lost, for nobody knows whether the far end had them.
const inFlight = 20

// table lists the faults.
func table() []row {
	var rows []row
	rows = append(rows, cloudFaults()...)
	rows = append(rows, localFaults()...)
	rows = append(rows, bridgeFaults()...)
	return append(rows, older(rows)...)
}

const up, down = faultproxy.Up, faultproxy.Down

func cloudFaults() []row {
	return []row{
		{name: "none", fault: func(w *world) { w.flow(time.Second) }},
		{name: "cloud cut and back", duplicates: 3 * inFlight, fault: func(w *world) { cuts(w, w.wan, 3) }},
		{name: "cloud cut in the midst of a packet", duplicates: 6 * inFlight, fault: func(w *world) { bites(w, w.wan) }},
		{name: "cloud away for 2 s", duplicates: inFlight, fault: func(w *world) { away(w, w.wan, 2*time.Second) }},
		{name: "cloud away for 20 s", full: true, duplicates: inFlight, fault: func(w *world) { away(w, w.wan, 20*time.Second) }},
		{
			name:   "cloud refused at the start",
			before: func(w *world) { w.wan.Refuse() },
			fault: func(w *world) {
				w.flow(1500 * time.Millisecond)
				w.resume(w.wan)
			},
		},
		{name: "cloud swallows both ways", duplicates: inFlight, fault: func(w *world) { swallowed(w, w.wan, up, down) }},
		{name: "cloud swallows upwards", full: true, duplicates: inFlight, fault: func(w *world) { swallowed(w, w.wan, up) }},
		{name: "cloud swallows downwards", duplicates: inFlight, fault: func(w *world) { swallowed(w, w.wan, down) }},
		{name: "cloud forgets a swallowed connection", full: true, duplicates: 2 * inFlight, fault: func(w *world) {
			swallowed(w, w.wan, up, down)
			w.wan.Cut()
		}},
		{name: "cloud silent for half a keepalive", fault: func(w *world) {
			w.wan.Hole(up, down)
			w.flow(keepAlive / 2)
			w.resume(w.wan)
		}},
		{name: "cloud flaps", duplicates: 10 * inFlight, fault: func(w *world) {
			whileFlapping(w, w.wan, func() { w.flow(3 * time.Second) })
		}},
		{name: "slow line: 100 ms, 4 kB a second", fault: func(w *world) {
			w.wan.Delay(100 * time.Millisecond)
			w.wan.Limit(4000)
			w.flow(2500 * time.Millisecond)
			w.resume(w.wan)
		}},
	}
}

// localFaults make Mosquitto send again what the bridge has in hand, or has dealt with. The bridge knows these messages again
// by their identifiers, so hardly any comes twice.
func localFaults() []row {
	return []row{
		{name: "Mosquitto restarted", duplicates: inFlight, fault: func(w *world) {
			for range 2 {
				w.house.Restart()
				w.mended()
				w.flow(700 * time.Millisecond)
			}
		}},
		{name: "Mosquitto restarted, cloud away", full: true, duplicates: inFlight, fault: func(w *world) {
			cloudAway(w, 500*time.Millisecond)
			w.house.Restart()
			w.flow(500 * time.Millisecond)
			w.resume(w.wan)
		}},
		// It may come back with what it had sent already.
		{name: "Mosquitto killed", full: true, duplicates: 1000, fault: mosquittoKilled},
		{name: "local line cut", duplicates: inFlight, fault: func(w *world) { cuts(w, w.near, 4) }},
		{name: "local line cut in the midst of a packet", full: true, duplicates: inFlight, fault: func(w *world) { bites(w, w.near) }},
		{name: "local line flaps", full: true, duplicates: inFlight, fault: func(w *world) {
			whileFlapping(w, w.near, func() { w.flow(3 * time.Second) })
		}},
		{name: "local line flaps, cloud away", full: true, duplicates: inFlight, fault: func(w *world) {
			cloudAway(w, 500*time.Millisecond)
			whileFlapping(w, w.near, func() { w.flow(3 * time.Second) })
			w.resume(w.wan)
		}},
		{name: "local line swallows both ways", duplicates: inFlight, fault: func(w *world) { swallowed(w, w.near, up, down) }},
		{name: "local line swallows downwards", full: true, duplicates: inFlight, fault: func(w *world) { swallowed(w, w.near, down) }},
		{name: "local line swallows upwards", full: true, duplicates: inFlight, fault: func(w *world) { swallowed(w, w.near, up) }},
	}
}

func bridgeFaults() []row {
	return []row{
		{name: "bridge stopped and started", duplicates: 3 * inFlight, fault: func(w *world) {
			for range 3 {
				w.stop()
				w.bridge.Start()
				w.mended()
				w.flow(400 * time.Millisecond)
			}
		}},
		{name: "bridge stopped while the cloud is away", rate: 500, needsDisk: true, duplicates: inFlight, fault: func(w *world) {
			cloudAway(w, 2*time.Second)
			w.stop()
			w.flow(200 * time.Millisecond)
			w.bridge.Start()
			w.flow(500 * time.Millisecond)
			w.resume(w.wan)
		}},
		{name: "bridge killed, cloud up", rate: 500, duplicates: kills() * inFlight, fault: murders},
		// 500 messages a second, there and back in 80 ms, are 40 in flight, and more after each start.
		{name: "bridge killed, cloud 40 ms away", rate: 500, wide: true, duplicates: 200 * kills(), fault: func(w *world) {
			w.wan.Delay(40 * time.Millisecond)
			murders(w)
		}},
		// A kill between the write to disk and its acknowledgements brings a whole window again.
		{name: "bridge killed, cloud away", rate: 500, needsDisk: true, duplicates: 1000 + kills()*inFlight, fault: func(w *world) {
			cloudAway(w, 0)
			murders(w)
			w.flow(200 * time.Millisecond)
			w.resume(w.wan)
		}},
		{name: "bridge killed, cloud flaps", rate: 500, needsDisk: true, duplicates: 1000 + kills()*inFlight, fault: func(w *world) {
			whileFlapping(w, w.wan, func() { murders(w) })
		}},
		{name: "bridge killed, all lines flap", rate: 500, full: true, needsDisk: true, duplicates: 1000 * kills(), fault: func(w *world) {
			whileFlapping(w, w.wan, func() { whileFlapping(w, w.near, func() { murders(w) }) })
		}},
	}
}

// older are the rows over MQTT 3.1.1 on both sides: two of them always, all in the full version. A Mosquitto then sends only 20
// messages ahead, so whatever waits for the cloud for a moment must go to disk; the bridge in turn sends thousands ahead, and
// all of these may come twice.
func older(rows []row) (list []row) {
	for _, r := range rows {
		if r.name == "none" {
			continue
		}
		r.full = r.full || r.name != "bridge killed, cloud up" && r.name != "cloud away for 2 s"
		r.needsDisk = r.needsDisk || strings.HasPrefix(r.name, "bridge killed")
		if !strings.Contains(r.name, "local line") {
			r.duplicates += 1000
		}
		r.name, r.protocol = r.name+" (3.1.1)", "3.1.1"
		list = append(list, r)
	}
	return list
}

// cuts cuts a line so many times.
func cuts(w *world, p *faultproxy.Proxy, n int) {
	for range n {
		p.Cut()
		w.mended()
		w.flow(300 * time.Millisecond)
	}
}

// bites cuts a line after some bytes, now of one direction, now of the other.
func bites(w *world, p *faultproxy.Proxy) {
	for i := range 6 {
		d := up
		if i%2 == 1 {
			d = down
		}
		cut := p.Stats().Cut
		p.CutAfter(d, int64(101+37*i))
		mqtttest.Eventually(w, "the cut", func() bool { return p.Stats().Cut > cut })
		w.mended()
		w.flow(200 * time.Millisecond)
	}
}

// cloudAway takes the cloud away, for at least so long.
func cloudAway(w *world, d time.Duration) {
	w.wan.Refuse()
	w.wan.Cut()
	w.flow(d)
}

// mosquittoKilled ends Mosquitto as a power cut would. It keeps what it had saved, here each second or two: of the last
// messages that it had acknowledged it may have forgotten some before the bridge had them, and that is nobody else's fault.
func mosquittoKilled(w *world) {
	saved := func() int { return strings.Count(w.house.Log(), "Saving in-memory database") }
	before := saved()
	mqtttest.Eventually(w, "Mosquitto to save the bridge's session", func() bool { return saved() > before })
	w.flow(300 * time.Millisecond) // It says so before it does it.
	w.forgiven.From = time.Now().Add(-200 * time.Millisecond)
	w.house.Kill()
	w.forgiven.To = time.Now()
	w.house.Start()
	w.mended()
	w.flow(time.Second)
}
