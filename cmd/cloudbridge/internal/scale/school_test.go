package scale

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloudbridge/internal/mqtt/mqtttest"
	"cloudbridge/platforms/adafruitio/adafruitiotest"
	"cloudbridge/platforms/emulator"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// district is a school district: channels at one ThingSpeak, four to a device, and accounts at Adafruit IO.
type district struct {
	channels, accounts int
	text               strings.Builder
	emulators          []emulator.Emulator
}

const channelsOfDevice = 4

func newDistrict(t *testing.T, channels, accounts int) *district {
	t.Helper()
	d := &district{channels: channels, accounts: accounts}
	fmt.Fprintf(&d.text, "[bridge]\nname = \"district\"\n[local]\nurl = %q\n[queue]\ndir = \"$DIR/queue\"\n[web]\nlisten = \"off\"\n",
		mqtttest.Mosquitto(t).URL)
	o := thingspeaktest.Options{}
	for i := range channels {
		o.Channels = append(o.Channels, thingspeaktest.Channel{ID: int64(1001 + i), WriteKey: fmt.Sprintf("WRITEKEY%08d", i)})
	}
	devices := (channels + channelsOfDevice - 1) / channelsOfDevice
	for i := range devices {
		name := fmt.Sprintf("Device%017d", i)
		o.Devices = append(o.Devices, thingspeaktest.Device{ClientID: name, Username: name, Password: "password-of-a-device-24c"})
	}
	ts, err := thingspeaktest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	d.add(t, ts)
	for i, dev := range o.Devices {
		d.text.WriteString(emulator.Table(fmt.Sprintf("cloud.ts%d", i), "platform", "thingspeak", "url", ts.URL(), "api_url", ts.APIURL(),
			"client_id", dev.ClientID, "username", dev.Username, "password", dev.Password))
	}
	for i := range accounts {
		aio, err := adafruitiotest.Start(emulator.Options{Set: map[string]string{"username": fmt.Sprintf("class%d", i)}})
		if err != nil {
			t.Fatal(err)
		}
		d.add(t, aio)
		d.text.WriteString(aio.Config(fmt.Sprintf("aio%d", i)))
	}
	for i := range channels {
		fmt.Fprintf(&d.text, "[[uplink]]\nlocal = \"school/%d/temp\"\ncloud = \"ts%d\"\nchannel = %d\nfield = 1\n", i, i/channelsOfDevice, 1001+i)
	}
	for i := range accounts {
		fmt.Fprintf(&d.text, "[[uplink]]\nlocal = \"home/%d/temp\"\ncloud = \"aio%d\"\nfeed = \"temp\"\n", i, i)
	}
	return d
}

func (d *district) add(t *testing.T, em emulator.Emulator) {
	d.emulators = append(d.emulators, em)
	t.Cleanup(func() { _ = em.Close() })
}

func (d *district) count(what string, accepted bool) (n int) {
	for _, em := range d.emulators {
		n += em.Count(what, accepted)
	}
	return n
}

// why is the reason of the first refusal.
func (d *district) why(what string) string {
	for _, em := range d.emulators {
		for _, e := range em.Events() {
			if e.What == what && !e.Accepted {
				return e.Topic + ": " + e.Why
			}
		}
	}
	return ""
}

// TestDistrict runs a school district's bridge: each channel and each account has its own limits, and none is broken.
func TestDistrict(t *testing.T) {
	together(t)
	sizes := [][2]int{{40, 10}}
	if full {
		sizes = [][2]int{{20, 5}, {200, 50}}
	}
	var last memory
	for _, size := range sizes {
		d := newDistrict(t, size[0], size[1])
		local, _, _ := strings.Cut(strings.SplitN(d.text.String(), "url = \"", 2)[1], "\"")
		p := run(t, write(t, d.text.String()))
		sessions := (size[0]+channelsOfDevice-1)/channelsOfDevice + size[1]
		p.says(": connected to ", 1+sessions)
		start := time.Since(p.began)
		b := newBoard(t, local)
		began := time.Now()
		for i := range size[0] {
			b.publish(fmt.Sprintf("school/%d/temp", i), fmt.Append(nil, i))
		}
		for i := range size[1] {
			b.publish(fmt.Sprintf("home/%d/temp", i), fmt.Append(nil, i))
		}
		p.until(time.Minute, "a reading of each", func() bool { return d.count("publish", true) >= size[0]+size[1] })
		took := time.Since(began)
		<-time.After(time.Until(p.began.Add(givenBack)))
		look := time.Second
		if full {
			look = 30 * time.Second
		}
		cpu, rests, from := p.cpu(), p.rests(), time.Now()
		<-time.After(look)
		idle := time.Since(from)
		last = p.memory()
		t.Logf("%d channels and %d accounts over %d connections: %v to connect, %v for a reading of each; %v; idle %.3f %% of a processor, %.1f sleeps a second",
			size[0], size[1], sessions, start.Round(time.Millisecond), took.Round(time.Millisecond), last,
			100*float64(p.cpu()-cpu)/float64(idle), float64(p.rests()-rests)/idle.Seconds())
		for _, what := range []string{"login", "publish", "subscribe"} {
			if n := d.count(what, false); n > 0 {
				t.Errorf("%d times a %s was refused: %s", n, what, d.why(what))
			}
		}
		if full {
			// At this signal the runtime lists the goroutines and ends.
			if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			<-p.ended
			n := strings.Count(p.written(), "\ngoroutine ")
			t.Logf("%d goroutines, %.1f for each connection", n, float64(n)/float64(sessions))
			continue
		}
		p.stop()
	}
	if most := 64 * 1024; last.rss > most {
		t.Errorf("it takes %d KiB, want at most %d", last.rss, most)
	}
}
