package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A Mutant is the daemon with a defect that the laboratory must find, or it
// proves nothing of the daemon without. The product's files are not touched: the
// compiler is given others in their place.
type Mutant struct {
	Name     string
	Workload string // that it is tried with
	Edits    []Edit
}

// An Edit replaces a text that is in the file once.
type Edit struct{ file, old, new string }

// noNamesByFile takes away the sync that a file gets on btrfs once it has its name,
// which would do for the one that the mutant goes without.
var noNamesByFile = Edit{"mailbox/osfs.go", "err != nil || st.Type == unix.BTRFS_SUPER_MAGIC", "err != nil"}

var mutants = []Mutant{
	{"no sync of the content", "full", []Edit{{"mailbox/osfile.go", "f.dir.fdatasync(f.fd)", "error(nil)"}, noNamesByFile}},
	{"no sync of the folder", "full", []Edit{{"mailbox/osfs.go", "d.fsync(d.fd)", "error(nil)"}, noNamesByFile}},
	{"name first, sync later", "full", []Edit{
		{"mailbox/maildirdelivery.go", "d.err = d.store.sync(sync)", "_ = sync"},
		{"mailbox/maildirdelivery.go", "if d.ordered || d.folder.NamesByFile() {\n\t\t\tif err := d.store.sync(d.file.SyncAll)", "if true {\n\t\t\t_ = d.store.sync(d.folder.Sync)\n\t\t\tif err := d.store.sync(d.file.Sync)"},
	}},
	{"content not written out", "ordered", []Edit{{"mailbox/osfile.go", "unix.SyncFileRange(f.fd, 0, 0, all)", "error(nil)"}}},
	{"no sync of the name", "ordered", []Edit{{"mailbox/osfile.go", "f.dir.fsync(f.fd)", "error(nil)"}}},
	{"no sync of what was appended", "mbox", []Edit{{"mailbox/mboxappend.go", "return l.store.sync(l.file.Sync)\n}\n\n// repair", "return nil\n}\n\n// repair"}}},
}

// build builds the program of the module at top into the file program, with the
// edits done to what the compiler sees.
func build(top, program string, edits []Edit) error {
	overlay, err := overlay(top, program+".src", edits)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-overlay", overlay, "-o", program, "./cmd/postern")
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", program, err, out)
	}
	return nil
}

// overlay writes the edited files into the folder dir, and returns the file that
// tells the compiler of them.
func overlay(top, dir string, edits []Edit) (string, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	texts := make(map[string]string)
	for _, e := range edits {
		path := filepath.Join(top, e.file)
		if texts[path] == "" {
			text, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			texts[path] = string(text)
		}
		if n := strings.Count(texts[path], e.old); n != 1 {
			return "", fmt.Errorf("%s has %q %d times, not once: contrib/crash/mutants.go must follow the code", e.file, e.old, n)
		}
		texts[path] = strings.Replace(texts[path], e.old, e.new, 1)
	}
	replace := make(map[string]string)
	for path, text := range texts {
		replace[path] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, list, 0o600)
}
