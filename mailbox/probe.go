package mailbox

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A FileSystem is what is known of the one that a store is on.
type FileSystem struct {
	Type   string // as the kernel names it: "ext4", "xfs"
	Source string // what is mounted: a device, or a server's folder
	Mount  string // where

	// Dangers are the reasons why it may lose messages that it called durable,
	// or show broken ones: each a clause for the log, in English. What lies
	// below the file system (sync=disabled of ZFS, a disk or a hypervisor that
	// ignores flushes) is not seen.
	Dangers []string

	// Ordered tells that the file system commits changes of names in the order
	// in which they were made, and those of a file with its fsync.
	Ordered bool
}

// Probe returns what is known of the file system that path is on.
func Probe(path string) (FileSystem, error) {
	var st unix.Statx_t
	err := retry(func() error {
		return unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st)
	})
	if err != nil {
		return FileSystem{}, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return FileSystem{}, err
	}
	defer f.Close()
	device := fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor)
	id := ""
	if st.Mask&unix.STATX_MNT_ID != 0 { // since Linux 5.8
		id = strconv.FormatUint(st.Mnt_id, 10)
	}
	m, err := findMount(f, id, device)
	if err != nil {
		return FileSystem{}, fmt.Errorf("find the mount of %s: %w", path, err)
	}
	if m.kind == "ext4" || m.kind == "ext3" {
		m.readExt4(device)
	}
	return m.judge(), nil
}

// probeOrdered makes the folders on the device of path Ordered. It is an error if
// the file system is not known to be.
func (k *kernel) probeOrdered(path string) error {
	f, err := Probe(path)
	if err != nil {
		return err
	}
	if !f.Ordered {
		reason := "it is not known to commit names in order"
		if len(f.Dangers) > 0 {
			reason = f.Dangers[0]
		}
		return fmt.Errorf("durability ordered is not safe on %s (%s): %s", f.Mount, f.Type, reason)
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(path, &st) }); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	k.orderedOn = uint64(st.Dev)
	return nil
}

// A mount is a line of proc_pid_mountinfo(5), and for ext4 what the kernel
// tells elsewhere.
type mount struct {
	kind, source, point string
	options             []string
	journal, noJournal  bool // neither: it cannot be seen
	fastCommit          bool
}

// findMount returns the mount with the given id, or if that is empty the last
// one of device.
func findMount(r io.Reader, id, device string) (m mount, err error) {
	found := false
	s := bufio.NewScanner(r)
	for s.Scan() {
		before, after, _ := strings.Cut(s.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 6 || len(right) < 3 {
			continue
		}
		if id != "" && left[0] != id || id == "" && left[2] != device {
			continue
		}
		found = true
		m = mount{kind: right[0], source: unescape(right[1]), point: unescape(left[4])}
		m.options = strings.Split(left[5]+","+right[2], ",")
	}
	if !found && s.Err() == nil {
		return m, fs.ErrNotExist
	}
	return m, s.Err()
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// readExt4 reads what ext4 tells in /sys and /proc about the device, which a
// sandbox may hide.
func (m *mount) readExt4(device string) {
	link, err := os.Readlink("/sys/dev/block/" + device)
	if err != nil {
		return
	}
	name := filepath.Base(link)
	task, _ := os.ReadFile("/sys/fs/ext4/" + name + "/journal_task")
	_, err = strconv.Atoi(strings.TrimSpace(string(task)))
	m.journal = err == nil
	m.noJournal = strings.TrimSpace(string(task)) == "<none>"
	options, _ := os.ReadFile("/proc/fs/ext4/" + name + "/options")
	m.options = append(m.options, strings.Fields(string(options))...)
	// The kernel shows the feature under the name of its test option.
	m.fastCommit = m.has("fc_debug_force") || m.has("fast_commit")
}

func (m *mount) has(option string) bool { return slices.Contains(m.options, option) }

// networked are file systems whose server decides what is durable.
var networked = []string{"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "lustre", "glusterfs", "gfs2", "ocfs2", "virtiofs"}

// journalled are the file systems that this package's order was tried on, or
// whose manuals promise what it rests on.
var journalled = []string{"ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs"}

// judge returns what the mount means for a store.
func (m *mount) judge() FileSystem {
	f := FileSystem{Type: m.kind, Source: m.source, Mount: m.point}
	danger := func(is bool, text string) {
		if is {
			f.Dangers = append(f.Dangers, text)
		}
	}
	noBarrier := m.has("nobarrier") || m.has("barrier=0") || m.has("fsync_mode=nobarrier")
	memory := m.kind == "tmpfs" || m.kind == "ramfs"
	network := slices.Contains(networked, strings.TrimPrefix(m.kind, "fuse."))
	danger(memory, m.kind+" is in memory only")
	danger(network, "on "+m.kind+" messages are as durable as the server makes them (NFS: export with sync)")
	danger(strings.HasPrefix(m.kind, "fuse") && !network, "on "+m.kind+" messages are as durable as its program makes them")
	danger(m.kind == "overlay", "on overlay messages are as durable as the folder below makes them; use a volume")
	danger(m.has("volatile"), "overlay with volatile does not sync")
	danger(m.noJournal, m.kind+" without a journal may lose synced names in a crash")
	danger(m.fastCommit, "ext4 with fast_commit lost synced messages in tests")
	danger(noBarrier, "write barriers are off, so that the disk's cache may lose synced messages")
	danger(len(f.Dangers) == 0 && m.kind != "overlay" && !slices.Contains(journalled, m.kind),
		"nothing is known of "+m.kind+" after a crash")
	journalsData := m.has("data=ordered") || m.has("data=journal")
	f.Ordered = len(f.Dangers) == 0 && (m.kind == "xfs" || m.kind == "ext4" && m.journal && journalsData)
	return f
}
