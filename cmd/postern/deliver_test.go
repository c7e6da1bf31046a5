package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/peer"
)

// delivers runs postern deliver as the user, and fails the test unless it exits
// with code and says so.
func (s *site) delivers(uid uint32, to string, code int, says string) {
	s.t.Helper()
	cmd := s.command("deliver", "--to", to)
	if uid != 0 {
		cmd = peer.AsUser(cmd, uid)
	}
	cmd.Stdin = strings.NewReader("Subject: hi\n\nhi\n")
	out, err := cmd.CombinedOutput()
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		s.t.Fatal(err)
	}
	if got != code || !strings.Contains(string(out), says) {
		s.t.Errorf("deliver --to %s: code %d, want %d and %q: %s", to, got, code, says, out)
	}
}

// A map that is broken or gone refuses nobody: what a server kept serves, whether it
// runs or not, and whom that does not know is put off.
func TestDeliverByLastGoodMaps(t *testing.T) {
	t.Parallel()
	const file, other = "recipients.d/example.com.toml", "recipients.d/other.toml"
	for _, verb := range []string{"serve", "mda"} {
		s := newSite(t)
		good := strings.Replace(s.read(file), "\n", "\nalias_domains = [\"alias.example\"]\n", 1)
		s.write(file, good)
		s.write(other, "domain = \"other.example\"\nmailboxes = [\"a\"]\n")
		server := s.start(verb)
		check := func() {
			t.Helper()
			s.delivers(0, "u1@example.com", 0, "")
			s.delivers(0, "team@alias.example", 0, "")
			s.delivers(0, "u77@example.com", exitTempFail, "550 5.1.1")
			s.delivers(0, "old@alias.example", exitTempFail, "moved to")
			s.delivers(0, "a@other.example", 0, "")
			s.delivers(0, "b@other.example", exitNoUser, "550 5.1.1")
			s.delivers(0, "u1@elsewhere.example", exitTempFail, "do not relay")
		}
		rename(t, s.dir, file, file+"~")
		check()
		s.write(file, "domain = \"example.com\n")
		check()
		s.write(file, "")
		check()
		must(t, server.Stop())
		check()
		s.write(file, good)
		s.delivers(0, "u77@example.com", exitNoUser, "550 5.1.1")
		rename(t, s.dir, "recipients.d", "away")
		s.delivers(0, "u1@example.com", 0, "")
		s.delivers(0, "b@other.example", exitTempFail, "recipients.d: no such file")
		rename(t, s.dir, "away", "recipients.d")
		if n := len(s.mailbox("u1")); n != 9 {
			t.Errorf("%s: u1 has %d messages of 9", verb, n)
		}
	}
}

// Where a server waits to be told of an edit, nobody is refused by it before, and
// whoever is new has mail already.
func TestDeliverBeforeReload(t *testing.T) {
	t.Parallel()
	const file = "recipients.d/example.com.toml"
	s := newSite(t, "reload: watch = false")
	s.start("serve")
	s.write(file, strings.Replace(s.read(file), `"u9"`, `"u10"`, 1))
	s.delivers(0, "u9@example.com", exitTempFail, "postern reload makes it forget; where no server runs any more, remove "+s.dir+"/state/mx/maps")
	s.delivers(0, "u10@example.com", 0, "")
	if out, err := s.command("reload").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.delivers(0, "u9@example.com", exitNoUser, "550 5.1.1")

	s.write(file, strings.Replace(s.read(file), `"u10"`, `"u11"`, 1))
	if out, err := s.command("reload", "--confirm", "1h").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.delivers(0, "u10@example.com", 0, "")
	s.delivers(0, "u11@example.com", exitTempFail, "550 5.1.1")
}

// Where nothing was kept, or another user keeps it, what is there serves, and what
// is missing is put off.
func TestDeliverWithoutKeptMaps(t *testing.T) {
	t.Parallel()
	peer.NeedRoot(t)
	const file = "recipients.d/example.com.toml"
	s := newSite(t)
	s.write("recipients.d/other.toml", "domain = \"other.example\"\nmailboxes = [\"a\"]\n")
	must(t, os.Chown(s.store, peer.Vmail, peer.Vmail))
	must(t, os.Chown(filepath.Join(s.dir, "spool"), peer.Vmail, peer.Vmail))
	s.delivers(peer.Vmail, "u77@example.com", exitNoUser, "550 5.1.1")
	server := s.start("serve")
	s.delivers(peer.Vmail, "u77@example.com", exitTempFail, "permission denied")
	s.delivers(peer.Vmail, "u1@example.com", 0, "")
	must(t, server.Stop())
	must(t, os.RemoveAll(filepath.Join(s.dir, "state")))
	rename(t, s.dir, file, file+"~")
	s.delivers(peer.Vmail, "u1@example.com", exitTempFail, "is its recipient map gone?")
	s.delivers(peer.Vmail, "a@other.example", 0, "")
	s.write(file, "domain = 7\n")
	s.delivers(peer.Vmail, "a@other.example", exitTempFail, "domain must not be")
	if _, err := os.Stat(filepath.Join(s.dir, "state")); err == nil {
		t.Error("deliver made a state folder")
	}
}

// Where a server ran once, what it has kept is not for ever: how to be rid of it is
// said, and then the maps serve.
func TestDeliverWhereNoServerRunsAnyMore(t *testing.T) {
	t.Parallel()
	const file = "recipients.d/example.com.toml"
	s := newSite(t)
	many := func(prefix string) string {
		var names strings.Builder
		for i := range 60 {
			fmt.Fprintf(&names, "\"%s%d\", ", prefix, i)
		}
		return "domain = \"example.com\"\nmailboxes = [" + names.String() + "]\n"
	}
	s.write(file, many("u"))
	must(t, s.start("serve").Stop())
	kept := filepath.Join(s.dir, "state/mx/maps")
	s.write(file, many("w"))
	way := "where no server runs any more, remove " + kept
	s.delivers(0, "w1@example.com", exitTempFail, way)
	must(t, os.WriteFile(kept, []byte("damaged"), 0o600))
	s.delivers(0, "x@example.com", exitTempFail, "is damaged: it has no generation: remove it, or start a server")
	must(t, os.Remove(kept))
	s.delivers(0, "w1@example.com", 0, "")
	s.delivers(0, "u1@example.com", exitNoUser, "550 5.1.1")
}

// What counts is what the server kept that ran last, whichever half it was.
func TestDeliverByTheNewestMaps(t *testing.T) {
	t.Parallel()
	const file = "recipients.d/example.com.toml"
	s := newSite(t)
	good := s.read(file)
	for i, verb := range []string{"mda", "serve", "mda"} {
		name := string(rune('a' + i))
		s.write(file, strings.Replace(good, `"u9"`, `"`+name+`"`, 1))
		must(t, s.start(verb).Stop())
		s.write(file, strings.Replace(good, `"u9"`, `"x"`, 1))
		out, _, err := outputs(s.command("diff"))
		if lacks(t, out, "- "+name+"@example.com", "+ x@example.com"); err != nil {
			t.Errorf("diff: %v", err)
		}
		s.write(file, "domain = 7\n")
		s.delivers(0, name+"@example.com", 0, "")
	}
}
