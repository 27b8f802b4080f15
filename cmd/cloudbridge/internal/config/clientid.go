package config

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Hardware is what tells one board from another. Either may be empty.
type Hardware struct {
	// Serial is the board's own number, which the copy of an SD card does not take along.
	Serial string
	// MAC is the address of a network card. Containers get a new one at each start, so it helps to make an id and says
	// nothing about whether the board is another one.
	MAC string
}

// keptID is the file in which an id is kept.
type keptID struct {
	ClientID string `json:"client_id"`
	Serial   string `json:"serial"`
}

const idFile = "client-id.json"

// ClientID gives the client id for the local broker: the one kept in dir, or a new one of the bridge's name and four
// hexadecimal digits of the board, which is then kept. It is made anew only where the board's serial number is another
// one: the copy of an SD card must not throw the original off the broker, and the broker keeps messages by this name.
// With an error it gives the id all the same, for this run: made of the board it is most often the one of the last run,
// and one drawn at each start would leave a session and retained states behind at the broker each time.
func ClientID(dir, name string, hw Hardware) (string, error) {
	path := filepath.Join(dir, idFile)
	made := keptID{ClientID: name + "-" + digits(hw), Serial: hw.Serial}
	kept, err := readID(path)
	if err != nil {
		return made.ClientID, fmt.Errorf("read the client id: %w", err)
	}
	switch {
	case kept.ClientID != "" && (hw.Serial == "" || kept.Serial == hw.Serial):
		return kept.ClientID, nil
	case kept.ClientID != "" && kept.Serial == "":
		// It was made where the serial could not be seen, and is good on.
		kept.Serial = hw.Serial
	default:
		kept = made
	}
	if err := writeID(path, kept); err != nil {
		return kept.ClientID, fmt.Errorf("keep the client id: %w", err)
	}
	return kept.ClientID, nil
}

// CloudClientID gives the client id for an MQTT cloud that names none.
func CloudClientID(local, cloud string) string { return local + "-" + cloud }

func readID(path string) (keptID, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return keptID{}, nil
	case err != nil:
		return keptID{}, err
	}
	var kept keptID
	if err := json.Unmarshal(data, &kept); err != nil {
		// A torn file is as good as none: a new id costs one session, no start at all costs everything.
		return keptID{}, nil
	}
	return kept, nil
}

// writeID replaces the file at once, so that no crash leaves half of it.
func writeID(path string, kept keptID) error {
	data, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), idFile+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

var fourDigits = regexp.MustCompile(`[0-9a-f]{4}$`)

// digits are the last four of the serial or of the MAC; where there is neither they are drawn.
func digits(hw Hardware) string {
	for _, s := range []string{hw.Serial, hw.MAC} {
		s = strings.ToLower(strings.NewReplacer(":", "", "-", "").Replace(s))
		if four := fourDigits.FindString(s); four != "" && four != "0000" {
			return four
		}
	}
	var b [2]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// ThisBoard reads what this machine says of itself.
func ThisBoard() Hardware {
	return Hardware{Serial: boardSerial(), MAC: cardAddress()}
}

// boardSerial reads the serial number that boards such as the Raspberry Pi show to every user.
func boardSerial() string {
	for _, path := range []string{"/proc/device-tree/serial-number", "/sys/firmware/devicetree/base/serial-number"} {
		if data, err := os.ReadFile(path); err == nil {
			if s := strings.Trim(string(data), "\x00 \n"); s != "" {
				return s
			}
		}
	}
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	return serialOf(string(data))
}

// serialOf finds the serial number in the text of /proc/cpuinfo.
func serialOf(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "Serial" {
			if s := strings.TrimSpace(value); strings.Trim(s, "0") != "" {
				return s
			}
		}
	}
	return ""
}

// cardAddress gives the address of the first network card, by name.
func cardAddress() string {
	cards, err := net.Interfaces()
	if err != nil {
		return ""
	}
	slices.SortFunc(cards, func(a, b net.Interface) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range cards {
		if len(c.HardwareAddr) == 6 && c.Flags&net.FlagLoopback == 0 {
			return c.HardwareAddr.String()
		}
	}
	return ""
}
