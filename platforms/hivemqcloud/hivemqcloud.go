// Package hivemqcloud is the platform "hivemq-cloud": a cluster at HiveMQ Cloud. It is a plain MQTT broker that insists on
// TLS with a server name, tells its clusters apart by that name, and gives each credential a permission.
package hivemqcloud

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms"
	"cloudbridge/platforms/generic"
)

// Cloud is the [cloud.<name>] table of a cluster.
type Cloud struct {
	platforms.Connection
	// Host is the cluster's, and may be pasted with port, scheme and path.
	Host     string      `toml:"host"`
	Username string      `toml:"username"`
	Password mqtt.Secret `toml:"password"`
}

// Platform is one credential at one cluster.
type Platform struct {
	generic.Broker
}

var _ platforms.Platform = (*Platform)(nil)

// window is how many messages HiveMQ takes unconfirmed. On MQTT 5 it says so itself; whether it minds on 3.1.1 is told in
// two ways, and so we keep to it there too.
const window = 10

const (
	whereHost  = "on console.hivemq.cloud open the cluster: it is the URL on the page Overview, such as abc123.s1.eu.hivemq.cloud"
	whereLogin = "on console.hivemq.cloud open the cluster, then Access Management, and add credentials with the permission " +
		"Publish and Subscribe"
)

// Kind is the platform "hivemq-cloud" for the configuration.
var Kind = platforms.Kind{
	Name:          "hivemq-cloud",
	Title:         "HiveMQ Cloud",
	NewCloud:      func() any { return &Cloud{} },
	NewPlace:      generic.NewPlace,
	Open:          func(cloud any) (platforms.Platform, error) { return Open(cloud.(*Cloud)) },
	Target:        generic.Target,
	Source:        generic.Source,
	Retains:       true,
	TakesAnyTopic: true,
}

// Open checks the table and makes the platform of it.
func Open(table *Cloud) (*Platform, error) {
	c := *table
	host, faults := c.address()
	if c.Protocol == "" {
		c.Protocol = "5"
	}
	o, more := c.Session("mqtts")
	faults = append(faults, without("url", more)...) // address has said what there is to say about that.
	faults = append(faults, generic.CheckLogin(c.Username, c.Password, c.APIURL)...)
	if c.Username == "" && c.Password == "" {
		faults = append(faults, &platforms.KeyError{Key: "username", Text: "missing", Hint: whereLogin})
	}
	if c.Password == "" {
		faults = append(faults, &platforms.KeyError{Key: "password", Text: "missing", Hint: whereLogin + "; put the password into a file and write password_file"})
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	o.Username, o.Password, o.TLS.ServerName = c.Username, c.Password, host
	p := &Platform{generic.Broker{Words: "HiveMQ", Platform: "hivemq-cloud", Server: host, Options: o}}
	// The name says whose it is, also where a url of its own leads there by way of this machine.
	p.Bounds = generic.LimitsOf(host, o.Protocol, window, 0)
	p.Options.Window = window
	if o.Protocol == mqtt.V5 {
		p.Options.Window = 0xFFFF // What the cluster itself says counts, which is more on some plans.
	}
	return p, nil
}

func without(key string, faults []error) (rest []error) {
	for _, f := range faults {
		if e, ok := f.(*platforms.KeyError); !ok || e.Key != key {
			rest = append(rest, f)
		}
	}
	return rest
}

// address works out where to connect (c.URL) and the name of the cluster. With a url of its own, as for an emulator or a
// tunnel, host is the name alone.
func (c *Cloud) address() (host string, faults []error) {
	key, given := "host", c.Host
	if given == "" {
		key, given = "url", c.URL
	}
	blame := func(format string, args ...any) {
		faults = append(faults, &platforms.KeyError{Key: key, Hint: whereHost, Text: fmt.Sprintf(format, args...)})
	}
	if given == "" {
		key = "host"
		blame("missing")
		return "", faults
	}
	u, err := parse(given)
	if err != nil {
		blame("%v", text(err))
		return "", faults
	}
	host = u.Hostname()
	if net.ParseIP(host) != nil {
		blame("%s is a number: HiveMQ tells its clusters apart by name", host)
	}
	if c.URL != "" {
		key = "url"
		if u, err = parse(c.URL); err != nil {
			blame("%v", text(err))
			return host, faults
		}
	}
	if u.Scheme != "mqtts" && u.Scheme != "wss" {
		blame("%s is not encrypted, and HiveMQ Cloud takes nothing else: write mqtts://%s:8883", u, u.Hostname())
	}
	c.URL = u.String()
	return host, faults
}

// text is what a fault says, without the key that parse does not know.
func text(err error) string {
	var e *platforms.KeyError
	if errors.As(err, &e) {
		return e.Text
	}
	return err.Error()
}

// parse knows the ports of HiveMQ Cloud: 8883 for MQTT and 8884 for WebSockets, both with TLS.
func parse(s string) (*url.URL, error) {
	u, err := platforms.ParseURL(s, "mqtts")
	if err != nil {
		return nil, err
	}
	switch {
	case u.Scheme == "mqtt" && u.Port() == "8883":
		u.Scheme = "mqtts"
	case u.Scheme == "ws" && u.Port() == "8884":
		u.Scheme = "wss"
	case u.Scheme == "wss" && u.Port() == "443" && !strings.Contains(s, ":443"):
		u.Host = net.JoinHostPort(u.Hostname(), "8884")
	}
	return u, nil
}

// Judge says what an answer means at HiveMQ Cloud, where most refusals are a matter of a permission.
func (p *Platform) Judge(r platforms.Reply) platforms.Verdict {
	v := generic.Judge(p.Words, r)
	if r.HTTPStatus != 0 || v.Outcome == platforms.Confirmed {
		return v
	}
	user := p.Options.Username
	switch r.Packet {
	case mqtt.Connack:
		switch r.Code {
		case 4, 0x86:
			v.Why = fmt.Sprintf("HiveMQ does not know user %s with this password: look at Access Management on console.hivemq.cloud; "+
				"a change there takes up to a minute", user)
		case 5, 0x87:
			v.Cause = platforms.NotAllowed
			v.Why = fmt.Sprintf("HiveMQ does not let user %s in: look whether host is the cluster's own name, whether the cluster has "+
				"sessions left (100 on the free plan, those of clients that are away included), and, with announce, whether the "+
				"permission of %s covers that topic", user, user)
		case 0x97:
			v.Why = "the sessions of this HiveMQ cluster are used up (100 on the free plan): those of clients that are away count too " +
				"until they expire"
		}
	case mqtt.Puback, mqtt.Pubrec, mqtt.Pubcomp:
		if v.Cause == platforms.NotAllowed {
			v.Why = p.denied("publish to", r.Topic)
		}
	case mqtt.Suback:
		if v.Cause == platforms.NotAllowed {
			v.Why = p.denied("subscribe to", r.Topic)
		}
	case mqtt.Disconnect:
		if r.Code == 0x87 {
			v.Why = fmt.Sprintf("HiveMQ closed the connection after a message that user %s may not publish: the credential may be "+
				"Subscribe Only: %s", user, access)
			if r.Text != "" {
				v.Why += fmt.Sprintf(" (it says %q)", platforms.Shorten(r.Text, 200))
			}
		}
	}
	return v
}

const access = "change that under Access Management > Credentials on console.hivemq.cloud"

func (p *Platform) denied(what, topic string) string {
	if topic == "" {
		topic = "this topic"
	} else {
		topic = "topic " + topic
	}
	return fmt.Sprintf("HiveMQ does not let user %s %s %s: %s", p.Options.Username, what, topic, access)
}
