package emulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificate is a certificate that signs itself, for an emulator that speaks TLS.
type Certificate struct {
	TLS tls.Certificate
	// PEM is the certificate alone: what a client trusts as its CA.
	PEM []byte
	dir string
}

// NewCertificate makes a certificate for these host names and IP addresses. It is valid from long before to long
// after any time that a test may pretend.
func NewCertificate(hosts ...string) (*Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "cloudbridge emulator"},
		NotBefore:             time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return &Certificate{
		TLS: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}, nil
}

// File writes the PEM to a folder of its own below the system's temporary one, for the key ca_file. Remove deletes it.
func (c *Certificate) File() (string, error) {
	if c.dir == "" {
		dir, err := os.MkdirTemp("", "cloudbridge-emulator-")
		if err != nil {
			return "", fmt.Errorf("keep certificate: %w", err)
		}
		c.dir = dir
	}
	path := filepath.Join(c.dir, "ca.pem")
	if err := os.WriteFile(path, c.PEM, 0o644); err != nil {
		return "", fmt.Errorf("keep certificate: %w", err)
	}
	return path, nil
}

// Remove deletes the file that File wrote.
func (c *Certificate) Remove() error {
	if c.dir == "" {
		return nil
	}
	return os.RemoveAll(c.dir)
}
