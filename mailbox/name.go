package mailbox

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// A namer makes names for messages, as maildir(5) and Dovecot have them: the
// second, then what tells this delivery from all others in it, then the host.
//
// The counter tells deliveries of this process apart, the random part those of
// other processes, also where each is number 1 in its container, and of earlier
// lives. So names do not repeat even if the clock is set back.
type namer struct {
	host  string // escaped
	pid   int
	life  string // random, of this process
	count atomic.Uint64
}

func newNamer(host string) *namer {
	var life [8]byte
	_, _ = rand.Read(life[:]) // never fails (crypto/rand)
	return &namer{host: escapeHost(host), pid: os.Getpid(), life: hex.EncodeToString(life[:])}
}

// next returns a name that no delivery had before.
func (n *namer) next(now time.Time) string {
	b := make([]byte, 0, 64+len(n.host))
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, ".M"...)
	b = strconv.AppendInt(b, int64(now.Nanosecond()/1000), 10)
	b = append(b, 'P')
	b = strconv.AppendInt(b, int64(n.pid), 10)
	b = append(b, 'Q')
	b = strconv.AppendUint(b, n.count.Add(1), 10)
	b = append(b, 'R')
	b = append(b, n.life...)
	b = append(b, '.')
	return string(append(b, n.host...))
}

// sized returns name with the sizes that spare a reader from reading the file:
// S= is the octets on disk, W= what they are with CRLF at the end of each line.
func sized(name string, size, bare int64) string {
	b := make([]byte, 0, len(name)+48)
	b = append(append(b, name...), ",S="...)
	b = strconv.AppendInt(b, size, 10)
	b = append(b, ",W="...)
	return string(strconv.AppendInt(b, size+bare, 10))
}

// maxHost leaves room for all else, and for what readers append, in the 255
// octets of a file name.
const maxHost = 100

// escapeHost returns host with all that has a meaning in a file name, or in the
// name of a message, as a backslash and three octal digits: maildir(5) says so
// of "/" and ":", and "," begins the sizes.
func escapeHost(host string) string {
	var b strings.Builder
	for i := range len(host) {
		c := host[i]
		part := string(rune(c))
		if c <= ' ' || c > '~' || strings.IndexByte("/:,\\", c) >= 0 {
			part = fmt.Sprintf(`\%03o`, c)
		}
		if b.Len()+len(part) > maxHost {
			break
		}
		b.WriteString(part)
	}
	if b.Len() == 0 {
		return "localhost"
	}
	return b.String()
}

// checkName returns an error unless name can be one component of a path that
// cannot do harm: neither hidden nor an option nor a way out, nor unprintable.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("mailbox: empty name")
	case len(name) > 255:
		return fmt.Errorf("mailbox: name of %d octets", len(name))
	case name[0] == '.' || name[0] == '-':
		return fmt.Errorf("mailbox: name %q begins with %q", name, name[:1])
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' }), !utf8.ValidString(name):
		return fmt.Errorf("mailbox: name %q is not fit for a path", name)
	}
	return nil
}
