package bridge

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms/adafruitio"
	"cloudbridge/platforms/thingspeak"
	"cloudbridge/platforms/thingspeak/thingspeaktest"
)

// TestProxyPasswordIsNotShown has proxies that cannot be reached, for MQTT and for REST, whose addresses hold a password: no
// log and no status tells it.
func TestProxyPasswordIsNotShown(t *testing.T) {
	inBubble(t, func(b *bubble) {
		l := b.lab()
		l.cloud("weather", thingspeak.Kind, func(c any) {
			weatherTable(c)
			ts := c.(*thingspeak.Cloud)
			ts.Via, ts.APIURL, ts.Proxy = "rest", "http://ts:80", "http://bob:s3cret@proxy:3128"
			ts.Channels = map[string]thingspeak.Channel{"1001": {WriteKey: mqtt.Secret(thingspeaktest.DemoChannels()[0].WriteKey)}}
		})
		for name, proxy := range map[string]string{"home": "socks5://bob:s3cret@proxy:1080", "office": "http://bob:s3cret@proxy:3128"} {
			l.cloud(name, adafruitio.Kind, func(c any) {
				a := c.(*adafruitio.Cloud)
				a.URL, a.Username, a.Key, a.Proxy = "mqtt://aio:1883", name, aioKey, proxy
			})
			l.up("iot/"+name, name, feed(name))
		}
		l.up("iot/a", "weather", field(1001, 1))
		br, stop := l.run()
		eventually(b.T, "the house online", func() bool { return br.Status().Local.State == stateOnline })
		board := b.board()
		for range 10 {
			board.publish("iot/a", "1")
			time.Sleep(10 * time.Second)
		}
		status, err := json.Marshal(br.Status())
		if err != nil {
			b.Fatal(err)
		}
		stop()
		for _, cloud := range []string{"weather", "home", "office"} {
			if !l.log.has(cloud + ": ") {
				b.Errorf("the log says nothing of %s", cloud)
			}
		}
		if strings.Contains(string(status), "s3cret") || l.log.has("s3cret") {
			b.Errorf("a password is shown:\n%s\n%s", status, l.log)
		}
	})
}
