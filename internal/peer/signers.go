package peer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A Signing says how a message is to be signed by DKIM.
type Signing struct {
	Domain, Selector string
	Key              string // the path of a private key in PEM (PKCS #8)
	Algorithm        string // "rsa-sha256" or "ed25519-sha256"
	Canon            string // "relaxed/simple"
}

// OpenDKIM starts an OpenDKIM that signs so, and returns the path of the socket
// on which it speaks milter.
func OpenDKIM(t testing.TB, s Signing) (socket string) {
	t.Helper()
	dir := Dir(t)
	socket = filepath.Join(dir, "opendkim.sock")
	config := write(t, dir, "opendkim.conf", fmt.Sprintf(`
Background no
Syslog no
UMask 000
RequireSafeKeys no
Socket local:%s
Mode s
InternalHosts 0.0.0.0/0
OversignHeaders From,Cc
Domain %s
Selector %s
KeyFile %s
SignatureAlgorithm %s
Canonicalization %s
`, socket, s.Domain, s.Selector, absolute(t, s.Key), s.Algorithm, s.Canon))
	p := Start(t, exec.Command(Need(t, "opendkim")[0], "-f", "-x", config))
	t.Cleanup(p.Kill) // it takes seconds to end by itself
	p.WaitListen("unix", socket)
	return socket
}

// RspamdSigner starts an Rspamd that does nothing but sign so, and returns the
// path of the socket on which it speaks milter. It knows relaxed forms alone.
func RspamdSigner(t testing.TB, s Signing) (socket string) {
	t.Helper()
	return rspamd(t, "dkim", fmt.Sprintf(`
modules { path = "/usr/share/rspamd/plugins/dkim_signing.lua"; }
dkim { sign_headers = "(o)from:(o)to:(o)cc:(o)subject:date:message-id:content-type"; }
dkim_signing {
  sign_networks = ["0.0.0.0/0"]; use_domain = "header"; use_esld = false;
  allow_hdrfrom_mismatch = true; check_pubkey = false;
  domain { %q { selectors [ { selector = %q; path = %q; } ] } }
}
`, s.Domain, s.Selector, s.bareKey(t)))
}

// Dkimsign returns msg with a signature on top that dkimpy made.
func Dkimsign(t testing.TB, s Signing, msg string) string {
	t.Helper()
	header, body, _ := strings.Cut(s.Canon, "/")
	cmd := exec.Command(Need(t, "dkimsign")[0], "--hcanon", header, "--bcanon", body, "--signalg", s.Algorithm, s.Selector, s.Domain, s.bareKey(t))
	cmd.Stdin = strings.NewReader(msg)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("peer: dkimsign: %v\n%s", err, problems.String())
	}
	return out.String()
}

// bareKey returns the path of the key, which is bare if it is Ed25519.
func (s Signing) bareKey(t testing.TB) string {
	t.Helper()
	if s.Algorithm == "ed25519-sha256" {
		return write(t, Dir(t), "key", seed(t, s.Key))
	}
	return absolute(t, s.Key)
}

// seed returns the Ed25519 key in a PEM file in base64.
func seed(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("peer: %v", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("peer: no key in %s", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := key.(ed25519.PrivateKey)
	if err != nil || !ok {
		t.Fatalf("peer: no Ed25519 key in %s: %v", path, err)
	}
	return base64.StdEncoding.EncodeToString(private.Seed())
}

func absolute(t testing.TB, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatalf("peer: %v", err)
	}
	return abs
}
