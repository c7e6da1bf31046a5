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

// maxConfigSize bounds postern.toml, in octets.
const maxConfigSize = 4 << 20

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
	if errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("read recipient maps: %w; name the folder with a file for each domain", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read recipient maps: %w", unread(dir, err))
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

// A fileError is why a file cannot be used, and the way out.
type fileError struct {
	message, hint string
	err           error // of the file system; nil: none
}

func (e fileError) Error() string { return e.message }
func (e fileError) Unwrap() error { return e.err }

const noMap = "move it away, or give it a name that does not end in .toml"

var (
	// errEmpty is also what a file is that is being written.
	errEmpty = fileError{"is empty, as a file is that is being written, and would leave a domain without recipients",
		`write domain = "example.com" and its mailboxes, or remove it`, nil}
	errTooLarge = fileError{"is larger than " + formatSize(maxMapSize), `mailboxes = "next-hop" leaves the names to the LMTP server`, nil}
)

// unread returns the error of reading a file or folder that is named somewhere, with
// the way out where one is known.
func unread(name string, err error) error {
	switch {
	case errors.Is(err, unix.EISDIR):
		return fmt.Errorf("%w; name the file in it, as %s", err, filepath.Join(name, "postern.toml"))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; namei -l %s shows whom it lets in", err, name)
	}
	if why := unopened(name, err); why.hint != "" {
		return fmt.Errorf("%w: it %s; %s", err, why.message, why.hint)
	}
	return err
}

// unopened says why the file name could not be opened.
func unopened(name string, err error) fileError {
	to, _ := os.Readlink(name) // "" if it is no link
	switch {
	case errors.Is(err, unix.ELOOP):
		return fileError{"is a link that leads back to itself", "link it to a file, or remove it", err}
	case errors.Is(err, fs.ErrNotExist) && to != "":
		return fileError{fmt.Sprintf("is a link to %q, which is not there", to), "link it to a file, or remove it", err}
	case errors.Is(err, fs.ErrPermission):
		return fileError{"cannot be read: " + err.Error(), "namei -l shows whom it and the folders above it let in", err}
	}
	return fileError{"cannot be read: " + err.Error(), "", err}
}

// readMap reads a file, and nothing that would make it wait.
func readMap(name string) source {
	s := source{name: name}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe without a writer
	if err != nil {
		var of *fs.PathError
		if errors.As(err, &of) {
			err = of.Err // who tells of it names the file
		}
		s.err = unopened(name, err)
		return s
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		s.err = fmt.Errorf("cannot be read: %w", err)
	case info.IsDir():
		s.err = fileError{"is a folder, and not a file", noMap, unix.EISDIR}
	case !info.Mode().IsRegular():
		s.err = fileError{"is not a file", noMap, nil}
	case info.Size() > maxMapSize:
		s.err = errTooLarge
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
	var of *fs.PathError
	if errors.As(err, &of) {
		err = of.Err // who tells of it names the file
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot be read: %w", err)
	case n > maxMapSize:
		return "", errTooLarge
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

// readBounded reads the file name, whatever it is: a pipe to which nobody writes is
// empty, and what does not end is an error.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is larger than %s", name, formatSize(limit))
	}
	return text, err
}
