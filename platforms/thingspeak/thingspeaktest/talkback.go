package thingspeaktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Of TalkBack commands.
const (
	commandSize  = 255
	mostCommands = 8000
)

// talkback is a queue and what waits in it. The cloud's mutex guards it.
type talkback struct {
	TalkBack
	waiting []command
	last    int64
}

// command is one command of a queue, as REST shows it.
type command struct {
	ID       int64   `json:"id"`
	Command  string  `json:"command_string"`
	Position *int    `json:"position"`
	Executed *string `json:"executed_at"`
	Created  string  `json:"created_at"`
}

func stamp() string { return time.Now().UTC().Format("2006-01-02T15:04:05Z") }

func (c *Cloud) talkback(in *call) (*talkback, error) {
	id, err := strconv.ParseInt(in.r.PathValue("id"), 10, 64)
	c.mu.Lock()
	t := c.talkbacks[id]
	c.mu.Unlock()
	switch {
	case err != nil || t == nil:
		return nil, refuse(http.StatusNotFound, "there is no such TalkBack")
	case in.key() != t.Key:
		return nil, refuse(http.StatusUnauthorized, "the key is not the TalkBack's")
	}
	return t, nil
}

// commands adds a command to a queue, or lists what waits.
func (c *Cloud) commands(in *call) (any, error) {
	if err := in.methods(http.MethodGet, http.MethodPost); err != nil {
		return nil, err
	}
	t, err := c.talkback(in)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.r.Method == http.MethodGet {
		return t.list(), nil
	}
	text := in.form["command_string"]
	switch {
	case text == "":
		return nil, refuse(http.StatusBadRequest, "no command_string")
	case len(text) > commandSize:
		return nil, refuse(http.StatusBadRequest, fmt.Sprintf("command_string: %d bytes are more than %d", len(text), commandSize))
	case len(t.waiting) >= mostCommands:
		return nil, refuse(http.StatusBadRequest, fmt.Sprintf("%d commands wait already", mostCommands))
	}
	t.last++
	cmd := command{ID: t.last, Command: text, Created: stamp()}
	at := len(t.waiting)
	if n, err := strconv.Atoi(in.form["position"]); err == nil && n >= 1 && n <= at {
		at = n - 1
	}
	t.waiting = slices.Insert(t.waiting, at, cmd)
	if in.json {
		return t.list()[at], nil
	}
	return strconv.FormatInt(cmd.ID, 10), nil
}

// list is what waits, each with its position.
func (t *talkback) list() []command {
	list := make([]command, len(t.waiting))
	for i, cmd := range t.waiting {
		position := i + 1
		cmd.Position = &position
		list[i] = cmd
	}
	return list
}

// execute takes the next command from a queue; with none waiting the answer is empty.
func (c *Cloud) execute(in *call) (any, error) {
	if err := in.methods(http.MethodGet, http.MethodPost); err != nil {
		return nil, err
	}
	t, err := c.talkback(in)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return t.pop(in.json), nil
}

// popByKey takes the next command from the queue with this key, for an update that asks for it.
func (c *Cloud) popByKey(key string, asJSON bool) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.talkbacks {
		if t.Key == key {
			return t.pop(asJSON)
		}
	}
	return ""
}

func (t *talkback) pop(asJSON bool) any {
	if len(t.waiting) == 0 {
		if asJSON {
			return []byte("{}")
		}
		return ""
	}
	cmd := t.list()[0]
	t.waiting = slices.Delete(t.waiting, 0, 1)
	if !asJSON {
		return cmd.Command
	}
	now := stamp()
	cmd.Executed = &now
	b, err := json.Marshal(cmd)
	if err != nil {
		panic(err) // A command always has a JSON form.
	}
	return b
}
