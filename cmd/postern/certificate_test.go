package main

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"postern/config"
	"postern/internal/certtest"
)

// writePair writes a certificate for name, valid until then, and its key.
func writePair(t *testing.T, dir, file, name string, key crypto.Signer, until time.Time) config.TLS {
	t.Helper()
	chain, private := certtest.PEM(t, certtest.Of(t, key, until, name))
	pair := config.TLS{Cert: filepath.Join(dir, file+".crt"), Key: filepath.Join(dir, file+".key")}
	writeFile(t, pair.Cert, string(chain))
	writeFile(t, pair.Key, string(private))
	return pair
}

// shown returns which certificate a client gets to see.
func shown(t *testing.T, c *certificates, client *tls.Config) *x509.Certificate {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		server := tls.Server(theirs, c.serverConfig())
		_ = server.Handshake() // the client tells of an error
		_ = theirs.Close()
	}()
	client.InsecureSkipVerify = true // it looks itself
	conn := tls.Client(ours, client)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn.ConnectionState().PeerCertificates[0]
}

func TestCertificateIsChosen(t *testing.T) {
	dir, later := t.TempDir(), time.Now().Add(24*time.Hour)
	rsaKey, ecKey := certtest.RSA(t), certtest.ECDSA(t)
	c := newCertificates([]config.TLS{
		writePair(t, dir, "other", "mx.other.example", ecKey, later),
		writePair(t, dir, "rsa", "mx.a.example", rsaKey, later),
		writePair(t, dir, "ec", "mx.a.example", ecKey, later),
	}, "mx.a.example", slog.New(slog.DiscardHandler))
	if err := c.reload(); err != nil {
		t.Fatal(err)
	}
	old := &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	tests := []struct {
		name   string
		client *tls.Config
		sni    string
		want   string
		key    x509.PublicKeyAlgorithm
	}{
		{"our name", &tls.Config{}, "mx.a.example", "mx.a.example", x509.ECDSA},
		{"our name, without ECDSA", old, "mx.a.example", "mx.a.example", x509.RSA},
		{"the other name", &tls.Config{}, "mx.other.example", "mx.other.example", x509.ECDSA},
		{"the other name, without ECDSA", old, "mx.other.example", "mx.a.example", x509.RSA},
		{"no name", &tls.Config{}, "", "mx.a.example", x509.ECDSA},
		{"no name, without ECDSA", old, "", "mx.a.example", x509.RSA},
		{"a strange name", &tls.Config{}, "mx.example", "mx.a.example", x509.ECDSA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := tt.client.Clone()
			client.ServerName = tt.sni
			got := shown(t, c, client)
			if got.DNSNames[0] != tt.want || got.PublicKeyAlgorithm != tt.key {
				t.Errorf("the client sees %v, %v", got.DNSNames, got.PublicKeyAlgorithm)
			}
		})
	}
}

// A new certificate is shown only if it is good; else the old one stays.
func TestCertificateIsReloaded(t *testing.T) {
	dir, later := t.TempDir(), time.Now().Add(24*time.Hour)
	key, other := certtest.ECDSA(t), certtest.ECDSA(t)
	pair := writePair(t, dir, "a", "mx.a.example", key, later)
	c := newCertificates([]config.TLS{pair}, "mx.a.example", slog.New(slog.DiscardHandler))
	if err := c.reload(); err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		return shown(t, c, &tls.Config{ServerName: "mx.a.example"}).SerialNumber.String()
	}
	first := serial()
	breaks := map[string]func(){
		"another key":   func() { writePair(t, dir, "b", "mx.a.example", other, later); rename(t, dir, "b.key", "a.key") },
		"no key":        func() { rename(t, dir, "a.key", "gone") },
		"empty":         func() { writeFile(t, pair.Cert, "") },
		"no PEM":        func() { writeFile(t, pair.Cert, "nonsense") },
		"expired":       func() { writePair(t, dir, "a", "mx.a.example", key, time.Now().Add(-time.Hour)) },
		"gone":          func() { rename(t, dir, "a.crt", "gone") },
		"not a key":     func() { writeFile(t, pair.Key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n") },
		"half a chain":  func() { cut(t, pair.Cert) },
		"half a key":    func() { cut(t, pair.Key) },
		"only the key":  func() { rename(t, dir, "a.key", "a.crt") },
		"a folder":      func() { rename(t, dir, "a.crt", "gone"); mkdir(t, pair.Cert) },
		"without right": func() { writeFile(t, pair.Key, "\x00") },
	}
	for name, breaks := range breaks {
		breaks()
		if err := c.reload(); err == nil || serial() != first {
			t.Errorf("%s: %v", name, err)
		}
		if st := c.status(); len(st) != 1 || st[0].Refused == "" || st[0].Key != "ECDSA" {
			t.Errorf("%s: the status is %+v", name, st)
		}
		_ = os.RemoveAll(pair.Cert)
		writePair(t, dir, "a", "mx.a.example", key, later)
		if err := c.reload(); err != nil || serial() == first || c.status()[0].Refused != "" {
			t.Errorf("after %s: %v", name, err)
		}
		first = serial()
	}
	for name, breaks := range breaks {
		breaks()
		fresh := newCertificates([]config.TLS{pair}, "", slog.New(slog.DiscardHandler))
		if err := fresh.reload(); name != "expired" && (err == nil || !fresh.none()) {
			t.Errorf("%s at start: %v", name, err)
		}
		_ = os.RemoveAll(pair.Cert)
		writePair(t, dir, "a", "mx.a.example", key, later)
	}
}

// Certificates are noticed when their files change, by whatever link.
func TestCertificateIsWatched(t *testing.T) {
	dir, later := t.TempDir(), time.Now().Add(24*time.Hour)
	key := certtest.ECDSA(t)
	live := filepath.Join(dir, "live")
	archive := func(n string) string {
		mkdir(t, filepath.Join(dir, n))
		writePair(t, filepath.Join(dir, n), "a", "mx.a.example", key, later)
		return n
	}
	link(t, archive("1"), live)
	c := newCertificates([]config.TLS{{Cert: filepath.Join(live, "a.crt"), Key: filepath.Join(live, "a.key")}}, "", slog.New(slog.DiscardHandler))
	if err := c.reload(); err != nil {
		t.Fatal(err)
	}
	s := newWatching(t, c.watch)
	defer s()
	for _, n := range []string{"2", "3"} {
		before := shown(t, c, &tls.Config{}).SerialNumber
		link(t, archive(n), live)
		for shown(t, c, &tls.Config{}).SerialNumber.Cmp(before) == 0 { // the test ends by its own deadline
			time.Sleep(10 * time.Millisecond)
		}
	}
}
