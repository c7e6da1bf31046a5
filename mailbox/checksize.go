package mailbox

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

// errEncoded tells of a message that a reader packed or encrypted, and whose
// sizes are those of what it was.
var errEncoded = errors.New("mailbox: encoded message")

// encodings are how the files begin that Dovecot packs or encrypts.
var encodings = []string{"\x1f\x8b", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd", "Dovecot-LZ4", "CRYPTED\x03\x07"}

func isEncoded(text []byte) bool {
	return slices.ContainsFunc(encodings, func(start string) bool { return bytes.HasPrefix(text, []byte(start)) })
}

// measure reads a message, and returns how many octets it has, and how many it would
// have with CRLF at the end of each line.
func measure(dir Dir, name string) (size, wire int64, err error) {
	f, err := dir.Open(name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	buf, last := make([]byte, 64<<10), byte(0)
	for {
		n, err := f.ReadAt(buf, size)
		part := buf[:n]
		if size == 0 && isEncoded(part) {
			return 0, 0, errEncoded
		}
		for _, b := range part {
			if b == '\n' && last != '\r' {
				wire++
			}
			last = b
		}
		size, wire = size+int64(n), wire+int64(n)
		if err == io.EOF {
			return size, wire, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

// restated returns the name of a message with the sizes that it states replaced;
// wire is left alone if it is negative.
func restated(name string, size, wire int64) string {
	base, flags, flagged := strings.Cut(name, ":")
	parts := strings.Split(base, ",")
	for i, part := range parts[1:] {
		switch {
		case strings.HasPrefix(part, "S="):
			parts[i+1] = "S=" + strconv.FormatInt(size, 10)
		case strings.HasPrefix(part, "W=") && wire >= 0:
			parts[i+1] = "W=" + strconv.FormatInt(wire, 10)
		}
	}
	name = strings.Join(parts, ",")
	if flagged {
		name += ":" + flags
	}
	return name
}
