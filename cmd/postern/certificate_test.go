package main

import (
	"context"
	"crypto"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"postern/config"
	"postern/internal/certificate"
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

// Certificates are noticed when their files change, by whatever link.
func TestCertificateIsWatched(t *testing.T) {
	dir, later := t.TempDir(), time.Now().Add(24*time.Hour)
	key := certtest.ECDSA(t)
	live := filepath.Join(dir, "live")
	archive := func(n string) string {
		later = later.Add(time.Hour)
		mkdir(t, filepath.Join(dir, n))
		writePair(t, filepath.Join(dir, n), "a", "mx.a.example", key, later)
		return n
	}
	link(t, archive("1"), live)
	c := certificate.New([]certificate.Files{{Cert: filepath.Join(live, "a.crt"), Key: filepath.Join(live, "a.key")}}, "", slog.New(slog.DiscardHandler))
	must(t, c.Reload())
	s := newWatching(t, func(ctx context.Context) error { return watchCertificates(ctx, c, slog.New(slog.DiscardHandler)) })
	defer s()
	for _, n := range []string{"2", "3"} {
		before := c.Status()[0].Expires
		link(t, archive(n), live)
		for c.Status()[0].Expires.Equal(before) { // the test ends by its own deadline
			time.Sleep(10 * time.Millisecond)
		}
	}
}
