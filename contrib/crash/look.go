package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Found is what a store holds after a crash.
type Found struct {
	whole   map[Copy]int // how often
	partial []string     // messages that are not whole
	tails   []string     // mboxes whose last message is not whole
}

// A Copy is a message in a place: a mailbox, or a folder of one.
type Copy struct{ Message, Place string }

// placeOf returns where mail for an address goes.
func placeOf(address string) string {
	local, domain, _ := strings.Cut(address, "@")
	user, detail, _ := strings.Cut(local, "+")
	switch {
	case detail != "":
		return domain + "/" + user + "/." + detail
	case domain == "mbox.example":
		return domain + "/" + user + ".mbox"
	}
	return domain + "/" + user
}

// Look reads the whole store: all that a reader would show, which is new/ and
// cur/ of a Maildir and of its folders, and all of an mbox.
func Look(store string) (*Found, error) {
	f := &Found{whole: make(map[Copy]int)}
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		place, err := filepath.Rel(store, path)
		switch dir := filepath.Dir(place); {
		case filepath.Base(dir) == "new" || filepath.Base(dir) == "cur":
			return errors.Join(err, f.file(path, filepath.Dir(dir)))
		case strings.HasSuffix(place, ".mbox"):
			return errors.Join(err, f.mbox(path, place))
		}
		return nil
	})
	return f, err
}

func (f *Found) file(path, place string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	id, whole := identify(content)
	if !whole {
		f.partial = append(f.partial, describe(path, content))
		return nil
	}
	f.whole[Copy{id, place}]++
	return nil
}

func (f *Found) mbox(path, place string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	messages := splitMbox(content)
	for i, m := range messages {
		id, whole := "", false
		if separator, rest, ok := bytes.Cut(m, []byte("\n")); ok && bytes.HasPrefix(separator, []byte("From ")) {
			body, emptyLine := bytes.CutSuffix(rest, []byte("\n"))
			id, whole = identify(body)
			whole = whole && emptyLine
		}
		switch {
		case whole:
			f.whole[Copy{id, place}]++
		case i == len(messages)-1:
			f.tails = append(f.tails, describe(path, m))
		default:
			f.partial = append(f.partial, describe(path, m))
		}
	}
	return nil
}

// splitMbox returns the messages of an mbox, each with its separator line and
// the empty line at its end.
func splitMbox(content []byte) (messages [][]byte) {
	for len(content) > 0 {
		next := bytes.Index(content[1:], []byte("\n\nFrom "))
		if next < 0 {
			return append(messages, content)
		}
		next += 1 + len("\n\n")
		messages = append(messages, content[:next])
		content = content[next:]
	}
	return messages
}

func describe(path string, content []byte) string {
	return fmt.Sprintf("%s: %d octets, of which %d are NUL", path, len(content), bytes.Count(content, []byte{0}))
}
