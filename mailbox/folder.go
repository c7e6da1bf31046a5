package mailbox

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxFolder is how long the name of a folder may be on disk.
const maxFolder = 255

// folderName returns the name that the folder with the given components has
// in the layout of Maildir++, without the dot that it begins with: components
// separated by dots, each in the modified UTF-7 of RFC 3501, section 5.1.3, or
// in UTF-8 where the reader has it so.
func folderName(components []string, inUTF8 bool) (string, error) {
	if len(components) == 0 {
		return "", errors.New("mailbox: folder without a name")
	}
	stored := make([]string, len(components))
	for i, c := range components {
		c = norm.NFC.String(c) // as readers look for it, whatever the client's system writes
		if err := checkFolder(c); err != nil {
			return "", err
		}
		if i == 0 && strings.EqualFold(c, "INBOX") {
			c = "INBOX" // RFC 3501, section 5.1
		}
		if !inUTF8 {
			c = encodeUTF7(c)
		}
		stored[i] = c
	}
	name := strings.Join(stored, ".")
	if len(name)+1 > maxFolder {
		return "", fmt.Errorf("mailbox: name of folder %q is too long", name[:40]+"...")
	}
	return name, nil
}

// checkFolder returns an error unless name can be one component of the name of
// a folder. Dots and slashes would divide it, and to IMAP the asterisk and the
// percent sign are patterns.
func checkFolder(name string) error {
	switch {
	case name == "":
		return errors.New("mailbox: empty name of a folder")
	case !utf8.ValidString(name), strings.ContainsFunc(name, unicode.IsControl), strings.ContainsAny(name, "./*%"):
		return fmt.Errorf("mailbox: %q is not fit for the name of a folder", name)
	}
	return nil
}

// utf7 is the modified BASE64 of RFC 3501, section 5.1.3.
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// encodeUTF7 returns s in modified UTF-7.
func encodeUTF7(s string) string {
	var b strings.Builder
	for s != "" {
		n := strings.IndexFunc(s, isDirect)
		if n < 0 {
			n = len(s)
		}
		if n > 0 {
			var units []byte
			for _, u := range utf16.Encode([]rune(s[:n])) {
				units = append(units, byte(u>>8), byte(u))
			}
			b.WriteString("&" + utf7.EncodeToString(units) + "-")
			s = s[n:]
			continue
		}
		if s[0] == '&' {
			b.WriteString("&-")
		} else {
			b.WriteByte(s[0])
		}
		s = s[1:]
	}
	return b.String()
}

// isDirect reports whether r is outside of the BASE64 runs.
func isDirect(r rune) bool { return ' ' <= r && r <= '~' }

// Folder returns the folder of m whose name has the given components, as
// "Lists", "go", in UTF-8. The first delivery makes it, and subscribes the user
// to it if Options say so. The folder INBOX is m itself. An error tells that
// there can be no such folder.
func (m *Maildir) Folder(components ...string) (*Maildir, error) {
	if m.folder != "" {
		return nil, fmt.Errorf("mailbox: folder of %v, which is one", m)
	}
	name, err := folderName(components, m.store.opts.UTF8Folders)
	if err != nil {
		return nil, err
	}
	if name == "INBOX" {
		return m, nil
	}
	return newMaildir(Maildir{store: m.store, home: m.home, path: m.path, folder: "." + name}), nil
}

// rootFolder does for a folder what rootMaildir does for the Maildir that it is
// in. The empty file maildirfolder tells others that the folder is part of one.
func (s *Store) rootFolder(fsys FS, m *Maildir) error {
	isNew, err := s.makeIn(fsys, m.path, m.folder)
	if err != nil {
		return err
	}
	dir, err := fsys.OpenDir(m.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	file, err := dir.Create("maildirfolder")
	if err == nil {
		err = file.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := s.makeIn(fsys, m.dir, "tmp", "cur", "new"); err != nil {
		return err
	}
	if isNew && s.opts.Subscribe {
		return s.subscribe(fsys, m)
	}
	return nil
}
