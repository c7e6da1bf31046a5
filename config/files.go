package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxMapSize bounds one recipient map, in octets: two million names, of which a
// million take 15 MB, and as much as can be decoded beside a server that goes on.
const maxMapSize = 32 << 20

// A source is one file of a folder as it was read.
type source struct {
	name     string
	text     string
	modified time.Time
	file     fs.FileInfo // nil where it was not read
	err      error       // instead of the text
	hash     string      // what sum returns, if it was asked before
}

// base is how a file is called in its folder.
func (s source) base() string { return filepath.Base(s.name) }

// byteOrderMark is what some editors put before a text.
const byteOrderMark = "\ufeff"

// sum names what the file holds, or why it could not be read.
func (s source) sum() string {
	if s.hash != "" {
		return s.hash
	}
	h := sha256.Sum256([]byte(strings.TrimPrefix(s.text, byteOrderMark)))
	if s.err != nil {
		h = sha256.Sum256([]byte("\x00" + s.err.Error())) // no map has a NUL
	}
	return hex.EncodeToString(h[:16])
}

func (s source) parse() (*document, *table) {
	if s.err != nil {
		doc := unreadable(s.name, s.err)
		return doc, doc.table("", "", nil)
	}
	return parse(s.name, s.text)
}

// readMaps reads the maps in a folder, in alphabetical order.
func readMaps(dir string) ([]source, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read recipient maps: %w", err)
	}
	var sources []source
	for _, e := range entries {
		if isMap(e.Name()) {
			s := readMap(filepath.Join(dir, e.Name()))
			s.hash = s.sum()
			sources = append(sources, s)
		}
	}
	if len(sources) == 0 {
		return nil, Mistakes{{File: dir, Message: "there is no recipient map in this folder", Hint: "write one file for each domain, as example.com.toml"}}
	}
	return sources, nil
}

// isMap reports whether a file of this name is a recipient map, and not what an
// editor left.
func isMap(name string) bool {
	return strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "#")
}

// errEmpty is also what a file is that is being written.
var errEmpty = errors.New("is empty, as a file is that is being written, and would leave a domain without recipients")

// readMap reads a file, and nothing that would make it wait.
func readMap(name string) source {
	s := source{name: name}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe without a writer
	if err != nil {
		var of *fs.PathError
		if errors.As(err, &of) {
			err = of.Err // who tells of it names the file
		}
		s.err = fmt.Errorf("cannot be read: %w", err)
		return s
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		s.err = fmt.Errorf("cannot be read: %w", err)
	case !info.Mode().IsRegular():
		s.err = errors.New("is not a file")
	case info.Size() > maxMapSize:
		s.err = fmt.Errorf("is larger than %s", formatSize(maxMapSize))
	default:
		s.modified, s.file = info.ModTime(), info
		s.text, s.err = readText(f, info)
	}
	return s
}

// isYounger reports whether a source was written within that time. What was
// written in the future was given its time by somebody who had written it.
func (s source) isYounger(than time.Duration) bool {
	age := time.Since(s.modified)
	return -than < age && age < than
}

// readText reads a file that may be growing.
func readText(f *os.File, info fs.FileInfo) (string, error) {
	var b strings.Builder
	b.Grow(int(info.Size()))
	n, err := io.Copy(&b, io.LimitReader(f, maxMapSize+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot be read: %w", err)
	case n > maxMapSize:
		return "", fmt.Errorf("is larger than %s", formatSize(maxMapSize))
	case n == 0:
		return "", errEmpty
	}
	return b.String(), nil
}

// A digester names what several files hold.
type digester struct{ text []byte }

func (d *digester) add(parts ...string) {
	for _, part := range parts {
		d.text = binary.AppendUvarint(d.text, uint64(len(part)))
		d.text = append(d.text, part...)
	}
}

func (d *digester) String() string {
	h := sha256.Sum256(d.text)
	return hex.EncodeToString(h[:8])
}

// digest names what sources hold.
func digest(sources []source) string {
	var d digester
	for _, s := range sources {
		d.add(s.base(), s.sum())
	}
	return d.String()
}
