package platforms

import (
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"cloudbridge/internal/mqtt"
)

// Session makes session options of the keys that say where and how to connect; scheme is for a url that names none. The
// faults are all there are, each a *KeyError.
func (c *Connection) Session(scheme string) (mqtt.Options, []error) {
	var faults []error
	blame := func(key, hint, format string, args ...any) {
		faults = append(faults, &KeyError{Key: key, Hint: hint, Text: fmt.Sprintf(format, args...)})
	}
	o := mqtt.Options{
		ClientID:  c.ClientID,
		KeepAlive: c.KeepAlive,
		Proxy:     c.Proxy,
		TLS: mqtt.TLS{
			CAFile: c.CAFile, ClientCertFile: c.ClientCertFile, ClientKeyFile: c.ClientKeyFile,
			InsecureSkipVerify: c.InsecureSkipVerify,
		},
	}
	if u, err := ParseURL(c.URL, scheme); err != nil {
		faults = append(faults, blamed("url", err))
	} else {
		o.URL = u.String()
	}
	switch c.Protocol {
	case "", "auto":
	case "5", "5.0", "v5":
		o.Protocol = mqtt.V5
	case "3.1.1", "4", "v3.1.1":
		o.Protocol = mqtt.V311
	default:
		blame("protocol", `write "auto", "5" or "3.1.1"`, "%q is not a version of MQTT that this bridge speaks", c.Protocol)
	}
	switch {
	case c.KeepAlive == 0:
	case c.KeepAlive < time.Second || c.KeepAlive > math.MaxUint16*time.Second:
		blame("keepalive", `write a time such as "60s"`, "%v is not between 1s and 65535s, which MQTT allows", c.KeepAlive)
	case c.KeepAlive%time.Second != 0:
		blame("keepalive", `write whole seconds, such as "60s"`, "%v is not in whole seconds", c.KeepAlive)
	}
	if c.Proxy != "" && !fitForProxy(c.Proxy) {
		blame("proxy", `write "http://host:3128" or "socks5://host:1080"`, "that is not the address of a proxy")
	}
	if c.ClientCertFile != "" && c.ClientKeyFile == "" {
		blame("client_key_file", "write client_key_file too", "missing: client_cert_file has no key to go with it")
	}
	if c.ClientKeyFile != "" && c.ClientCertFile == "" {
		blame("client_cert_file", "write client_cert_file too", "missing: client_key_file has no certificate to go with it")
	}
	if len(c.ClientID) > math.MaxUint16 || !utf8.ValidString(c.ClientID) || strings.ContainsRune(c.ClientID, 0) {
		blame("client_id", "choose letters and digits, or leave it out", "this cannot be a client id of MQTT")
	}
	return o, faults
}

// fitForProxy accepts a user and password in the address: proxies have no keys of their own for them.
func fitForProxy(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Hostname() != "" && (u.Scheme == "http" || u.Scheme == "socks5" || u.Scheme == "socks5h")
}

// CheckAPI blames api_url for what cannot be the address of a REST side. What stands there is not repeated where it may
// hold a password. The example is of one that can.
func CheckAPI(address, example string) error {
	fault := func(format string, args ...any) error {
		return &KeyError{Key: "api_url", Text: fmt.Sprintf(format, args...), Hint: "leave it out, or write an address such as " + example}
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "":
		return fault("that is not the address of a server")
	case u.User != nil:
		return fault("a user name or password inside the address would end up in logs")
	case u.Scheme != "https" && u.Scheme != "http":
		return fault("%s:// is not a way to a REST service", u.Scheme)
	}
	return nil
}

// blamed names the key of a fault that has none yet.
func blamed(key string, err error) error {
	if e, ok := err.(*KeyError); ok && e.Key == "" {
		e.Key = key
	}
	return err
}
