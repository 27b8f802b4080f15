package clock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The files that Linux and systemd keep.
const (
	bootIDFile = "proc/sys/kernel/random/boot_id"
	// timesyncd touches this file when it has set the clock; it is on a disk in memory, so it is gone after a restart.
	markerFile = "run/systemd/timesync/synchronized"
)

func thisComputer() System { return linux("/", unix.Adjtimex) }

// linux asks the kernel, through adjtimex, and reads files below root.
func linux(root string, adjtimex func(*unix.Timex) (int, error)) System {
	return System{
		Synchronised: func() (bool, string, error) { return synchronised(root, adjtimex) },
		BootID: func() (string, error) {
			b, err := os.ReadFile(filepath.Join(root, bootIDFile))
			return strings.TrimSpace(string(b)), err
		},
		SinceBoot: sinceBoot,
	}
}

// synchronised asks the kernel first and then looks for timesyncd's marker, for a container may forbid the one and lack the
// other.
func synchronised(root string, adjtimex func(*unix.Timex) (int, error)) (ok bool, why string, err error) {
	var t unix.Timex // Modes is zero: nothing is changed, so anybody may ask.
	state, err := adjtimex(&t)
	if err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0 {
		return true, "the kernel says that it is synchronised", nil
	}
	if err != nil {
		err = fmt.Errorf("adjtimex: %w", err)
	}
	_, gone := os.Stat(filepath.Join(root, markerFile))
	switch {
	case gone == nil:
		return true, "systemd-timesyncd has set it", nil
	case !errors.Is(gone, fs.ErrNotExist):
		err = errors.Join(err, gone)
	}
	return false, "the kernel says that it is not synchronised, and systemd-timesyncd has not set it", err
}

// sinceBoot counts the time asleep too, which CLOCK_MONOTONIC does not.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	// CLOCK_BOOTTIME is in every kernel that Go runs on; it cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
