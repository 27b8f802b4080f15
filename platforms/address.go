package platforms

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// schemes maps what people and other programs write to the four schemes of ours.
var schemes = map[string]string{
	"mqtt": "mqtt", "tcp": "mqtt",
	"mqtts": "mqtts", "ssl": "mqtts", "tls": "mqtts", "mqtt+ssl": "mqtts", "mqtt+tls": "mqtts", "tcps": "mqtts",
	"ws": "ws", "wss": "wss",
}

// securePorts are ports at which brokers expect TLS, for addresses that name no scheme.
var securePorts = map[string]string{"8883": "mqtts", "8886": "mqtts", "443": "wss", "8084": "wss", "8884": "wss"}

// ports are what a scheme means where the address names no port.
var ports = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// usualPath is where nearly every broker has its WebSocket.
const usualPath = "/mqtt"

// ParseURL reads the address of an MQTT broker as people paste it: with or without scheme, port and the path of a
// WebSocket. Without a scheme the port decides, and without a port too it is scheme. What comes back has scheme, host and
// port, and a path for WebSockets. A fault is a *KeyError without its Key, and never shows a password.
func ParseURL(s, scheme string) (*url.URL, error) {
	s = strings.TrimSpace(s)
	given, rest, hasScheme := strings.Cut(s, "://")
	if !hasScheme {
		given, rest = "", s
	}
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.Contains(authority, "@") {
		return nil, &KeyError{
			Text: "a user name or password inside the address would end up in logs",
			Hint: "write the address alone, and username and password_file as keys of their own",
		}
	}
	host, port, err := splitHost(authority)
	if err != nil {
		return nil, err
	}
	kind, known := schemes[strings.ToLower(given)]
	switch {
	case hasScheme && !known:
		return nil, unknownScheme(given, rest)
	case hasScheme:
	case port != "" && securePorts[port] != "":
		kind = securePorts[port]
	case port != "":
		kind = "mqtt"
	default:
		kind = scheme
	}
	if port == "" {
		port = ports[kind]
	}
	u := &url.URL{Scheme: kind, Host: net.JoinHostPort(host, port)}
	if path == "/" && (kind == "mqtt" || kind == "mqtts") {
		path = ""
	}
	switch {
	case kind == "mqtt" || kind == "mqtts":
		if path != "" {
			return nil, &KeyError{
				Text: fmt.Sprintf("%q after the host means nothing to %s://", path, kind),
				Hint: "write the host and port alone; a topic belongs into a rule, and a path only to ws:// and wss://",
			}
		}
	case path == "":
		u.Path = usualPath
	default:
		given, err := url.Parse(path)
		if err != nil {
			return nil, &KeyError{Text: fmt.Sprintf("%q is no path", path), Hint: "write /mqtt, for example"}
		}
		if u.Path, u.RawPath, u.RawQuery = given.Path, given.RawPath, given.RawQuery; u.Path == "" {
			u.Path = usualPath
		}
	}
	return u, nil
}

func unknownScheme(given, rest string) error {
	e := &KeyError{Text: fmt.Sprintf("%s:// is not a way to a broker", given), Hint: "write mqtt://, mqtts://, ws:// or wss://"}
	switch strings.ToLower(given) {
	case "http":
		e.Hint = "a broker's WebSocket is written ws://" + rest
	case "https":
		e.Hint = "a broker's WebSocket is written wss://" + rest
	}
	return e
}

// splitHost checks host and port of an address.
func splitHost(authority string) (host, port string, err error) {
	host = authority
	if ip := net.ParseIP(authority); ip != nil && strings.Contains(authority, ":") {
		return authority, "", nil // An IPv6 address without brackets.
	}
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		host, port = authority[:i], authority[i+1:]
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "", "", &KeyError{Text: fmt.Sprintf("%q is not a port", port), Hint: "write a number such as 1883 or 8883"}
		}
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") && net.ParseIP(host[1:len(host)-1]) != nil {
		return host[1 : len(host)-1], port, nil
	}
	switch {
	case host == "":
		return "", "", &KeyError{Text: "the host is missing", Hint: "write mqtt://host:1883, for example"}
	case strings.ContainsFunc(host, unfitForHost):
		return "", "", &KeyError{Text: fmt.Sprintf("%q is not a host", host), Hint: "write a name such as broker.emqx.io or an IP address"}
	}
	return host, port, nil
}

func unfitForHost(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("<>[]{}|\\^`\"'%,;:()=+*!$&~", r)
}

// privateDomains end the names of hosts that are nobody else's.
var privateDomains = []string{".local", ".lan", ".home", ".internal", ".intranet", ".home.arpa", ".localhost", ".test"}

// Public says whether a host, with or without a port, may belong to somebody else: what is not loopback, not in a private
// network and not a name without dots. At a public broker a login too many may be punished.
func Public(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if ip := net.ParseIP(strings.Split(host, "%")[0]); ip != nil {
		return !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast() && !ip.IsUnspecified()
	}
	if !strings.Contains(host, ".") {
		return false
	}
	for _, d := range privateDomains {
		if strings.HasSuffix(host, d) {
			return false
		}
	}
	return true
}
