package bridge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"cloudbridge/internal/mqtt"
	"cloudbridge/platforms"
)

// failure is what the end of a connection or of an attempt means: how to pace the next one, and how to say it.
type failure struct {
	cause   retryCause
	verdict platforms.Verdict
	words   string
	// refused is true where the far side answered and said no.
	refused bool
}

// read classifies an error. What the broker said is the platform's to judge; what the network did means the same everywhere.
func (l *link) read(err error) failure {
	var refusal *mqtt.RefusedError
	if errors.As(err, &refusal) {
		v := l.judge(platforms.Reply{Reason: refusal.Reason})
		words := v.Why
		if words == "" {
			words = refusal.Error()
		}
		if refusal.Packet == mqtt.Disconnect && v.Cause == platforms.NotAllowed {
			// One message was not allowed, not the login: the next login is as welcome as the last.
			return failure{cause: retryNetwork, words: words}
		}
		return failure{cause: causeOf(v.Cause), verdict: v, words: words, refused: refusal.Packet == mqtt.Connack}
	}
	cause, words := readNetwork(err)
	if errors.Is(err, syscall.ECONNREFUSED) {
		words = "nobody listens at " + hostOf(l.options().URL) + " (connection refused)"
	}
	return failure{cause: cause, words: words}
}

// causeOf maps a platform's cause to the pace of the next login.
func causeOf(c platforms.Cause) retryCause {
	switch c {
	case platforms.SlowDown:
		return retryThrottled
	case platforms.Banned:
		return retryBanned
	case platforms.BadLogin, platforms.NotAllowed, platforms.QuotaUsed:
		return retryLogin
	case platforms.ClientIDTaken:
		return retryClientID
	case platforms.WrongProtocol, platforms.Invalid:
		return retryLogin
	case platforms.Busy:
		return retryBusy
	}
	return retryNetwork
}

// readNetwork puts an error of the network's into words that say where to look.
func readNetwork(err error) (retryCause, string) {
	var dns *net.DNSError
	var unknownCA x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var notTLS tls.RecordHeaderError
	switch {
	case err == nil:
		return retryNetwork, "the connection ended"
	case errors.As(err, &dns):
		return retryDNS, "the name " + dns.Name + " is not found: is there internet, and is the name right?"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return retryClock, "the certificate is not valid at this time: is this computer's clock right? (" + invalid.Error() + ")"
	case errors.As(err, &unknownCA):
		return retryClock, "the certificate is signed by nobody this computer trusts: give its CA with ca_file"
	case errors.As(err, &hostname):
		return retryClock, "the certificate is for another name: " + hostname.Error()
	case errors.As(err, &notTLS):
		return retryClock, "the answer is not TLS: mqtt:// has port 1883, mqtts:// has 8883"
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return retryLogin, err.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return retryNetwork, "nobody listens there (connection refused)"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return retryNetwork, "no way there (network unreachable)"
	case errors.Is(err, errNoAnswer), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return retryNetwork, "no answer"
	case errors.Is(err, mqtt.ErrClosedEarly):
		return retryNetwork, "the broker closed the connection before it answered the login"
	case errors.Is(err, mqtt.ErrSilent):
		return retryNetwork, "the broker does not answer any more"
	case errors.Is(err, mqtt.ErrHungUp), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
		return retryNetwork, "the connection was lost"
	}
	return retryNetwork, strings.TrimSpace(err.Error())
}

// unexplained says whether a session ended without a reason that names a culprit: these are the closes after which the
// sender looks for the message that causes them.
func unexplained(err error) bool {
	var refusal *mqtt.RefusedError
	if errors.As(err, &refusal) {
		return refusal.Packet == mqtt.Disconnect && (refusal.Code == 0x87 || refusal.Code == 0x80 || refusal.Code == 0x81 ||
			refusal.Code == 0x82 || refusal.Code == 0x90 || refusal.Code == 0x95 || refusal.Code == 0x99)
	}
	return errors.Is(err, mqtt.ErrHungUp) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// nobodyThere says whether an attempt surely reached no broker, so that it was no login. Of one that was cut short nobody
// knows.
func nobodyThere(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENETUNREACH) ||
		errors.Is(err, syscall.EHOSTUNREACH)
}
