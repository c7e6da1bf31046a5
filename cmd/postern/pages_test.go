package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// spoken is a command of ours in the text of a page, or on a line of its own.
	spoken  = regexp.MustCompile("(?m)(?:`|^    (?:[$#] )?)((?:go run \\./cmd/)?postern [a-z][^`\n]*)")
	comment = regexp.MustCompile(`\s+#.*$|\s*[|>&;].*$`)
)

// Every command and every flag that a page tells people to type is there.
func TestPagesSpeakOfWhatThereIs(t *testing.T) {
	root := "../.."
	pages := []string{"README.md", "CHANGELOG.md", "DESIGN.md"}
	must(t, fs.WalkDir(os.DirFS(root), "contrib", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	}))
	seen := 0
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(root, page))
		must(t, err)
		for _, m := range spoken.FindAllStringSubmatch(string(text), -1) {
			seen++
			if err := understood(m[1]); err != nil {
				t.Errorf("%s: %s: %v", page, m[1], err)
			}
		}
	}
	if seen < 80 {
		t.Errorf("only %d commands found", seen)
	}
}

// understood returns an error if there is no such command, or it has no such flag.
func understood(line string) error {
	line = comment.ReplaceAllString(strings.TrimPrefix(line, "go run ./cmd/"), "")
	root := newRoot(stdio{})
	cmd, args, err := root.Find(strings.Fields(line)[1:])
	if err != nil {
		return err
	}
	if cmd == root && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return os.ErrNotExist
	}
	return cmd.ParseFlags(args)
}
