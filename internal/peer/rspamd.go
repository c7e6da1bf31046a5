package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Rspamd starts an Rspamd that scans by itself, and returns the path of the
// socket on which it speaks milter. It has no rules but its own: it refuses GTUBE
// and marks its milder sister.
func Rspamd(t testing.TB) (socket string) {
	t.Helper()
	return rspamd(t, "", "")
}

// rspamd starts an Rspamd with these of its filters in C, and more configuration.
func rspamd(t testing.TB, filters, more string) (socket string) {
	t.Helper()
	dir := Dir(t)
	socket = filepath.Join(dir, "milter.sock")
	config := filepath.Join(dir, "rspamd.conf")
	text := fmt.Sprintf(`
options {
  pidfile = "%[1]s/pid"; tempdir = "%[1]s"; hs_cache_dir = "%[1]s";
  control_socket = "%[1]s/control.sock mode=0600";
  filters = "%[2]s"; enable_test_patterns = true; url_tld = "%[1]s/tld";
  dns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }
}
lang_detection { languages = "%[1]s"; }
logging { type = "console"; level = "info"; }
actions { reject = 15; add_header = 6; greylist = 4; }
worker "rspamd_proxy" {
  bind_socket = "%[1]s/milter.sock mode=0666"; milter = yes; count = 1; timeout = 20s;
  upstream "local" { default = yes; self_scan = yes; }
}
%[3]s`, dir, filters, more)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatalf("peer: %v", err)
	}
	// Rspamd would compile its list of public suffixes for many seconds, and read
	// the trigrams of 46 languages for some.
	if err := os.WriteFile(filepath.Join(dir, "tld"), []byte("example\n"), 0o644); err != nil {
		t.Fatalf("peer: %v", err)
	}
	p := Start(t, exec.Command(Need(t, "rspamd")[0], "--no-fork", "--insecure", "--config", config))
	p.WaitListen("unix", socket)
	return socket
}
