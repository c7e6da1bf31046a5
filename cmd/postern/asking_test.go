package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A broken postern.toml hides no server that runs: it is asked where the file says
// nevertheless.
func TestAskedWithBrokenConfiguration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start("mda")
	s.start("mx")
	good := s.read("postern.toml")
	for text, why := range map[string]string{
		good + "unknown = 7\n": "unknown",
		"x = [\n" + good:       "postern.toml:",
	} {
		s.write("postern.toml", text)
		out, complaints, err := outputs(s.command("status"))
		if err != nil {
			t.Errorf("status: %v", err)
		}
		lacks(t, complaints, "the configuration is broken:\n", s.dir+"/postern.toml:", why, s.dir+"/mx.sock and "+s.dir+"/mda.sock")
		lacks(t, out, "postern mx", "postern mda", "a restart would fail")
		if all := statusOf(t, s); len(all) != 2 || all[1].Server != "mda" || all[1].Broken == "" {
			t.Errorf("as JSON: %+v", all)
		}
		out, complaints, err = outputs(s.command("reload"))
		lacks(t, out, "mx and mda: serving generation", "NOT SERVED")
		lacks(t, complaints, "the configuration is broken:\n", "not all that is in the files serves")
		if err == nil {
			t.Error("reload: all is well, it says")
		}
		out, complaints, _ = outputs(s.command("diff"))
		lacks(t, out, "mx and mda: the recipients are those that serve")
		lacks(t, complaints, "the configuration is broken:\n")
		if out, _, err := outputs(s.command("metrics")); err != nil || !strings.Contains(out, "postern_") {
			t.Errorf("metrics: %v, %s", err, out)
		}
		if _, complaints, _ := outputs(s.command("release", "x")); strings.Contains(complaints, "does not run") {
			t.Errorf("release: %s", complaints)
		}
		lines := watched(t, s.command("status", "--watch=100ms", "--json"), 6)
		if !strings.Contains(lines[5], `"server":"mda"`) {
			t.Errorf("watched: %q", lines)
		}
	}
}

// Which server another file is of nobody knows; one can be named by its socket.
func TestAskedByControl(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start("mda")
	s.start("mx")
	other := func(args ...string) *exec.Cmd {
		return exec.Command(binary, append([]string{"-c", s.dir + "/other.toml"}, args...)...)
	}
	out, complaints, err := outputs(other("status"))
	lacks(t, complaints, "other.toml: no such file", "--control asks a server without it")
	if err == nil || out != "" {
		t.Errorf("%v: %s", err, out)
	}
	out, complaints, err = outputs(other("reload", "--control", s.dir+"/mda.sock"))
	lacks(t, out, s.dir+"/mda.sock: serving generation")
	if err != nil || complaints != "" || strings.Contains(out, "mx.sock") {
		t.Errorf("%v, %s%s", err, out, complaints)
	}
	out, complaints, err = outputs(other("status", "--control", s.dir+"/mda.sock", "--control", s.dir+"/none.sock"))
	lacks(t, out, "postern mda")
	lacks(t, complaints, "none.sock: connect: no such file")
	if err == nil || strings.Contains(out, "postern mx") {
		t.Errorf("%v: %s", err, out)
	}
}

// What would change something is asked of nobody where a broken file may name another
// server than the default; what only looks says so.
func TestAskedWithoutItsSocket(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, text := range []string{"[mx]\ncontrol = '/run/b/mx.sock\n", "[mx]\ncontrl = 'mx.sock'\n", "x = [\n"} {
		s.write("postern.toml", text)
		sure := !strings.Contains(text, "mx.sock")
		for _, args := range [][]string{{"reload", "--force"}, {"release", "x"}, {"status"}} {
			_, complaints, err := outputs(s.command(args...))
			lacks(t, complaints, s.dir+"/postern.toml:")
			if err == nil {
				t.Errorf("%v: somebody answered", args)
			}
			const refused, doubted, flag = "cannot be read of it", "whoever answers may be another site's", "--control asks"
			status := args[0] == "status"
			if got := strings.Contains(complaints, refused); got != (!sure && !status) {
				t.Errorf("%v of %q: refused is %v: %s", args, text, got, complaints)
			}
			if got := strings.Contains(complaints, doubted); got != (!sure && status) {
				t.Errorf("%v of %q: doubted is %v: %s", args, text, got, complaints)
			}
			if got := strings.Contains(complaints, flag); got != (!sure && args[0] == "reload") {
				t.Errorf("%v of %q: --control: %s", args, text, complaints)
			}
		}
	}
	must(t, os.Remove(s.config))
	for args, flag := range map[string]bool{"metrics": false, "diff": true, "status": true} {
		if _, complaints, _ := outputs(s.command(args)); strings.Contains(complaints, "--control") != flag {
			t.Errorf("%s: %s", args, complaints)
		}
	}
}

// outputs returns what a command prints.
func outputs(cmd *exec.Cmd) (out, complaints string, err error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}
