package mappings

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr/vm"
	"github.com/tidwall/gjson"

	"cloudbridge/internal/mqtt"
)

// reading is one message while rules look at it: what expressions see, worked out when it is first asked for and at most
// once.
type reading struct {
	bridge  string
	topic   string
	payload []byte
	// values are the captures of the rule that runs, and the topic after them, as templates want them.
	values []string
	// arrived is now; made is the time that the message's properties tell, or arrived, with a note where they told one that
	// cannot be right; at is the reading's own time, once it is known.
	arrived, made, at time.Time
	told              bool
	note              string

	textState, jsonState state
	text                 string
	root                 gjson.Result
	// missing names what an expression asked for in vain, for the words of a skip.
	missing string
	vm      vm.VM
	matched []int
}

type state byte

const (
	unknown state = iota
	good
	bad
)

// start forgets the message before.
func (r *reading) start(topic string, payload []byte, p *mqtt.Properties, now time.Time) {
	r.topic, r.payload, r.arrived = topic, payload, now
	r.made, r.told, r.note = made(p, now)
	r.at = r.made
	r.textState, r.jsonState, r.text, r.root = unknown, unknown, "", gjson.Result{}
	r.values, r.matched, r.missing = r.values[:0], r.matched[:0], ""
}

// release drops what it holds of a message, so that a pooled reading keeps no payload alive.
func (r *reading) release() {
	r.start("", nil, nil, time.Time{})
	clear(r.values[:cap(r.values)])
	clear(r.vm.Stack[:cap(r.vm.Stack)])
}

var (
	errNotText = errors.New("the payload is not UTF-8 text, so text and json cannot read it; without value it goes on untouched")
	errNotJSON = errors.New("the payload is not JSON")
	errDeep    = errors.New("the payload is JSON that is nested too deeply")
	errEmpty   = errors.New("the payload is empty, not JSON")
	// errMissing ends an expression that cannot go on without what is missing. It is no fault.
	errMissing = errors.New("nothing there")
)

// asText is the payload as text.
func (r *reading) asText() (string, error) {
	if r.textState == unknown {
		r.textState = bad
		if utf8.Valid(r.payload) {
			r.textState, r.text = good, string(r.payload)
		}
	}
	if r.textState == bad {
		return "", errNotText
	}
	return r.text, nil
}

// asJSON is the payload as JSON.
func (r *reading) asJSON() (gjson.Result, error) {
	if r.jsonState == good {
		return r.root, nil
	}
	text, err := r.asText()
	if err != nil {
		return gjson.Result{}, err
	}
	if r.jsonState == unknown {
		r.jsonState = bad
		if text, payload := strings.TrimPrefix(text, "\uFEFF"), r.payload[len(r.payload)-len(strings.TrimPrefix(text, "\uFEFF")):]; validJSON(payload) {
			r.jsonState, r.root = good, gjson.Parse(text)
			return r.root, nil
		}
	}
	switch {
	case r.jsonState == good:
		return r.root, nil
	case strings.TrimSpace(text) == "":
		return gjson.Result{}, errEmpty
	case tooDeep(r.payload):
		return gjson.Result{}, errDeep
	}
	return gjson.Result{}, errNotJSON
}

// member is what a path finds in the payload.
func (r *reading) member(p *jsonPath) (gjson.Result, bool, error) {
	root, err := r.asJSON()
	if err != nil {
		return gjson.Result{}, false, err
	}
	found, ok := p.find(root)
	if !ok && r.missing == "" {
		r.missing = p.String() + " is not there"
	}
	return found, ok, nil
}

// miss notes why a function found nothing, and is the nil that it returns.
func (r *reading) miss(why string) (any, error) {
	if r.missing == "" {
		r.missing = why
	}
	return nil, nil
}
