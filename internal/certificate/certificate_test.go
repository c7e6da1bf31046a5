package certificate

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

	"postern/internal/certtest"
)

// writePair writes a certificate for name, valid until then, and its key.
func writePair(t *testing.T, dir, file, name string, key crypto.Signer, until time.Time) Files {
	t.Helper()
	chain, private := certtest.PEM(t, certtest.Of(t, key, until, name))
	pair := Files{Cert: filepath.Join(dir, file+".crt"), Key: filepath.Join(dir, file+".key")}
	writeFile(t, pair.Cert, string(chain))
	writeFile(t, pair.Key, string(private))
	return pair
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(text), 0o600))
}

func rename(t *testing.T, dir, from, to string) {
	t.Helper()
	must(t, os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)))
}

// cut leaves half of a file.
func cut(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	must(t, err)
	must(t, os.Truncate(name, info.Size()/2))
}

// shown returns which certificate a client gets to see.
func shown(t *testing.T, c *Set, client *tls.Config) *x509.Certificate {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		server := tls.Server(theirs, c.Config())
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

func TestChosen(t *testing.T) {
	dir, later := t.TempDir(), time.Now().Add(24*time.Hour)
	rsaKey, ecKey := certtest.RSA(t), certtest.ECDSA(t)
	c := New([]Files{
		writePair(t, dir, "other", "mx.other.example", ecKey, later),
		writePair(t, dir, "rsa", "mx.a.example", rsaKey, later),
		writePair(t, dir, "ec", "mx.a.example", ecKey, later),
	}, "mx.a.example", slog.New(slog.DiscardHandler))
	if err := c.Reload(); err != nil {
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
func TestReload(t *testing.T) {
	dir, later := t.TempDir(), time.Now().Add(24*time.Hour)
	key, other := certtest.ECDSA(t), certtest.ECDSA(t)
	pair := writePair(t, dir, "a", "mx.a.example", key, later)
	c := New([]Files{pair}, "mx.a.example", slog.New(slog.DiscardHandler))
	if err := c.Reload(); err != nil {
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
		"a folder":      func() { rename(t, dir, "a.crt", "gone"); must(t, os.Mkdir(pair.Cert, 0o755)) },
		"without right": func() { writeFile(t, pair.Key, "\x00") },
	}
	for name, breaks := range breaks {
		breaks()
		if err := c.Reload(); err == nil || serial() != first {
			t.Errorf("%s: %v", name, err)
		}
		if st := c.Status(); len(st) != 1 || st[0].Refused == "" || st[0].Key != "ECDSA" {
			t.Errorf("%s: the status is %+v", name, st)
		}
		_ = os.RemoveAll(pair.Cert)
		writePair(t, dir, "a", "mx.a.example", key, later)
		if err := c.Reload(); err != nil || serial() == first || c.Status()[0].Refused != "" {
			t.Errorf("after %s: %v", name, err)
		}
		first = serial()
	}
	for name, breaks := range breaks {
		breaks()
		fresh := New([]Files{pair}, "", slog.New(slog.DiscardHandler))
		if err := fresh.Reload(); name != "expired" && (err == nil || !fresh.None()) {
			t.Errorf("%s at start: %v", name, err)
		}
		_ = os.RemoveAll(pair.Cert)
		writePair(t, dir, "a", "mx.a.example", key, later)
	}
}
