package main

import (
	"bytes"
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

// outputs returns what a command prints.
func outputs(cmd *exec.Cmd) (out, complaints string, err error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}
