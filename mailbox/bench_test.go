package mailbox_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/mailbox"
)

// sizes are those of a short note, of what most mail has, and of a picture.
var sizes = []int{4 << 10, 50 << 10, 1 << 20}

// message returns a message of about size octets.
func message(size int) []byte {
	line := strings.Repeat("x", 74) + "\r\n"
	return bytes.Repeat([]byte(line), size/len(line))
}

// discard is a mailbox.FS without a disk: what remains is the cost of the code.
type discard struct{ mailbox.Dir }

func (d discard) OpenDir(string) (mailbox.Dir, error) { return d, nil }
func (discard) Mkdir(string) error                    { return nil }
func (d discard) Tmpfile() (mailbox.File, error)      { return nothing{}, nil }
func (discard) Publish(mailbox.File, string) error    { return nil }
func (discard) NamesByFile() bool                     { return false }
func (discard) Sync() error                           { return nil }
func (discard) Close() error                          { return nil }

type nothing struct{ mailbox.File }

func (nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) Sync() error                 { return nil }
func (nothing) SetTime(time.Time) error     { return nil }
func (nothing) Close() error                { return nil }

func BenchmarkWithoutDisk(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			s := mailbox.New(discard{}, mailbox.Options{Host: "mx.example"})
			benchmark(b, s, message(size), 1)
		})
	}
}

func BenchmarkDelivery(b *testing.B) { benchmarkDelivery(b, mailbox.Options{}) }

func BenchmarkOrdered(b *testing.B) {
	benchmarkDelivery(b, mailbox.Options{Durability: mailbox.Ordered})
}

func benchmarkDelivery(b *testing.B, o mailbox.Options) {
	if is, err := mailbox.Probe(b.TempDir()); err != nil || o.Durability == mailbox.Ordered && !is.Ordered {
		b.Skip("not safe here:", is.Type, err)
	}
	for _, size := range sizes {
		for _, parallel := range []int{1, 32} {
			b.Run(fmt.Sprintf("%dK/%d", size>>10, parallel), func(b *testing.B) {
				s, _ := openStore(b, o)
				benchmark(b, s, message(size), parallel)
			})
		}
	}
}

// benchmark delivers msg into 100 mailboxes, from that many goroutines at once.
func benchmark(b *testing.B, s *mailbox.Store, msg []byte, parallel int) {
	boxes := make([]*mailbox.Maildir, 100)
	for i := range boxes {
		box, err := s.Maildir("example.org", fmt.Sprint("user", i))
		if err != nil {
			b.Fatal(err)
		}
		boxes[i] = box
		if err := deliver(box, wire); err != nil {
			b.Fatal(err)
		}
	}
	var next atomic.Int64
	one := func() {
		if err := deliverBytes(boxes[int(next.Add(1))%len(boxes)], msg); err != nil {
			b.Error(err)
		}
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	if parallel == 1 {
		for b.Loop() {
			one()
		}
		return
	}
	b.ResetTimer()
	b.SetParallelism(parallel)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			one()
		}
	})
}

func deliverBytes(box mailbox.Mailbox, msg []byte) error {
	d, err := box.Begin(mailbox.Arrival{Time: received})
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(msg); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	return d.Commit()
}

// BenchmarkBareWriter is the least that the same promise costs: the same calls,
// on folders that stay open, with a message that is not looked at.
func BenchmarkBareWriter(b *testing.B) {
	for _, size := range sizes {
		for _, parallel := range []int{1, 32} {
			b.Run(fmt.Sprintf("%dK/%d", size>>10, parallel), func(b *testing.B) { bare(b, message(size), parallel) })
		}
	}
}

func bare(b *testing.B, msg []byte, parallel int) {
	root := b.TempDir()
	var folders []int
	for i := range 100 {
		name := fmt.Sprint(root, "/", i)
		if err := os.Mkdir(name, 0o700); err != nil {
			b.Fatal(err)
		}
		fd, err := unix.Open(name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(fd)
		folders = append(folders, fd)
	}
	var next atomic.Int64
	one := func() {
		n := next.Add(1)
		if err := bareDelivery(folders[int(n)%len(folders)], fmt.Sprint(n), msg); err != nil {
			b.Error(err)
		}
	}
	b.SetBytes(int64(len(msg)))
	if parallel == 1 {
		for b.Loop() {
			one()
		}
		return
	}
	b.ResetTimer()
	b.SetParallelism(parallel)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			one()
		}
	})
}

func bareDelivery(folder int, name string, msg []byte) error {
	fd, err := unix.Openat(folder, ".", unix.O_WRONLY|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, msg); err != nil {
		return err
	}
	if err := unix.Fdatasync(fd); err != nil {
		return err
	}
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprint("/proc/self/fd/", fd), folder, name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return err
	}
	return unix.Fsync(folder)
}
