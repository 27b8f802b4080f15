package control

import (
	"errors"
	"syscall"
)

// What Windows says: a file that is no socket any more, nobody behind it, and a system from before Unix sockets.
const (
	wsaeInvalid       = syscall.Errno(10022)
	wsaeNoSupport     = syscall.Errno(10047)
	wsaeNetworkDown   = syscall.Errno(10050)
	wsaeConnectRefuse = syscall.Errno(10061)
)

func connectionRefused(err error) bool {
	return errors.Is(err, wsaeConnectRefuse) || errors.Is(err, wsaeInvalid) || errors.Is(err, wsaeNetworkDown)
}

func unsupported(err error) bool {
	return errors.Is(err, wsaeNoSupport) || errors.Is(err, errors.ErrUnsupported)
}
