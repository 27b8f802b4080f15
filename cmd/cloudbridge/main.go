// Command cloudbridge carries readings from a local MQTT broker up to clouds (ThingSpeak, Adafruit IO, HiveMQ Cloud, or any
// MQTT broker), and commands from there down to local devices.
//
// The exit code is 0 when all went well, 1 when something went wrong, 2 when the config or the command line is wrong, and
// 130 when a second Ctrl-C ended the program before it had sent what it could.
package main

import (
	"errors"
	"os"
	"slices"
	"time"

	"cloudbridge/cmd/cloudbridge/internal/config"
	"cloudbridge/cmd/cloudbridge/internal/terminal"

	"github.com/alecthomas/kong"
)

// The exit codes.
const (
	exitOK          = 0
	exitError       = 1
	exitConfig      = 2
	exitInterrupted = 130
)

const description = `Carries readings from a local MQTT broker up to ThingSpeak, Adafruit IO, HiveMQ Cloud or any MQTT broker, and commands back down to local devices.

Start with "cloudbridge demo": it needs no network, no account and no config.`

// commandLine is everything that can be typed.
type commandLine struct {
	Run      runCommand      `cmd:"" help:"Carry readings up and commands down, until Ctrl-C."`
	Check    checkCommand    `cmd:"" help:"Read the config, say everything that is wrong with it, and what it would carry."`
	Explain  explainCommand  `cmd:"" help:"Say what would become of one message, rule by rule. Nothing is sent."`
	Demo     demoCommand     `cmd:"" help:"Watch a pretend classroom, its bridge and three pretend clouds. Needs no network and no account."`
	Emulate  emulateCommand  `cmd:"" help:"Start a pretend cloud on this computer, with the real one's rules and limits."`
	Rejected rejectedCommand `cmd:"" help:"List what a cloud refused for good; send it again, or drop it."`
	Version  versionCommand  `cmd:"" help:"Say which cloudbridge this is."`

	ShowVersion kong.VersionFlag `name:"version" help:"Say which cloudbridge this is."`
}

// configFlag is the flag of every command that reads a config.
type configFlag struct {
	Config string `name:"config" short:"c" placeholder:"FILE" help:"The config. Without it: $$CLOUDBRIDGE_CONFIG, ./cloudbridge.toml, /etc/cloudbridge/cloudbridge.toml."`
}

func main() {
	c := &console{
		in:     os.Stdin,
		out:    terminal.Open(os.Stdout, os.Getenv),
		err:    terminal.Open(os.Stderr, os.Getenv),
		env:    config.OS(),
		now:    time.Now,
		signal: interrupts(),
	}
	os.Exit(program(os.Args[1:], c))
}

// program runs one command line and returns the exit code.
func program(args []string, c *console) int {
	var line commandLine
	parser, err := kong.New(
		&line,
		kong.Name("cloudbridge"),
		kong.Description(description),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Writers(c.out, c.err),
		kong.Vars{"version": versionLine(), "platforms": joinOr(emulatorNames())},
		kong.Bind(c),
	)
	if err != nil {
		return c.report(err)
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help":
		args = append(args[1:], "--help")
	}
	chosen, err := parser.Parse(negativeLast(args))
	if err != nil {
		return c.report(wrongLine(err))
	}
	return c.report(chosen.Run(c))
}

// wrongLine is a command line that cannot be read.
func wrongLine(err error) error {
	hint := `"cloudbridge --help" says what can be typed`
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil && p.Context.Command() != "" {
		hint = `"cloudbridge ` + p.Context.Selected().Name + ` --help" says what can be typed`
	}
	return &failure{code: exitConfig, err: err, hints: []string{hint}}
}

// numbered are the flags that take a number.
var numbered = []string{"--scale", "--delay", "--channel", "--field"}

// negativeLast moves negative numbers behind "--", for else the payload -5.2 would be read as a flag. One that follows a flag
// for numbers is that flag's.
func negativeLast(args []string) []string {
	if slices.Contains(args, "--") {
		return args
	}
	var rest, numbers []string
	for _, a := range args {
		if len(a) > 1 && a[0] == '-' && (a[1] == '.' || a[1] >= '0' && a[1] <= '9') {
			if n := len(rest); n > 0 && slices.Contains(numbered, rest[n-1]) {
				rest[n-1] += "=" + a
			} else {
				numbers = append(numbers, a)
			}
			continue
		}
		rest = append(rest, a)
	}
	if numbers == nil {
		return rest
	}
	return append(append(rest, "--"), numbers...)
}
