package mailbox

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

const mountinfo = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
42 27 7:0 / /srv/my\040mail rw,relatime master:1 propagate_from:2 - xfs /dev/loop0 rw,attr2
43 27 0:50 /sub /srv/b rw - btrfs /dev/sdb rw,space_cache=v2
44 27 254:0 /var /srv/bound rw,nosuid - ext4 /dev/vda rw,discard
broken
`

func TestFindMount(t *testing.T) {
	tests := []struct {
		id, device, kind, point string
		err                     error
	}{
		{id: "42", device: "9:9", kind: "xfs", point: "/srv/my mail"},
		{id: "43", device: "0:51", kind: "btrfs", point: "/srv/b"}, // a subvolume has a device number of its own
		{id: "27", device: "254:0", kind: "ext4", point: "/"},
		{device: "254:0", kind: "ext4", point: "/srv/bound"},
		{device: "9:9", err: fs.ErrNotExist},
		{id: "99", err: fs.ErrNotExist},
	}
	for _, tt := range tests {
		m, err := findMount(strings.NewReader(mountinfo), tt.id, tt.device)
		if m.kind != tt.kind || m.point != tt.point || !errors.Is(err, tt.err) {
			t.Errorf("%q %q: %+v, %v", tt.id, tt.device, m, err)
		}
	}
}

func TestJudge(t *testing.T) {
	ext4 := mount{kind: "ext4", journal: true}
	tests := []struct {
		mount   mount
		options string
		danger  string // a word of the one danger; empty: none
		ordered bool
	}{
		{mount: ext4, options: "rw,relatime,barrier,data=ordered", ordered: true},
		{mount: ext4, options: "rw,barrier,data=journal", ordered: true},
		{mount: ext4, options: "rw,barrier,data=writeback"},
		{mount: ext4, options: "rw,nobarrier,data=ordered", danger: "barriers"},
		{mount: ext4, options: "rw,barrier=0,data=ordered", danger: "barriers"},
		{mount: mount{kind: "ext4", noJournal: true}, options: "rw,barrier,data=ordered", danger: "journal"},
		{mount: mount{kind: "ext4"}, options: "rw,barrier,data=ordered"},
		{mount: mount{kind: "ext4", journal: true, fastCommit: true}, options: "barrier,data=ordered", danger: "fast_commit"},
		{mount: mount{kind: "ext3", journal: true}, options: "barrier,data=ordered"},
		{mount: mount{kind: "ext2"}, danger: "ext2"},
		{mount: mount{kind: "xfs"}, options: "rw,attr2", ordered: true},
		{mount: mount{kind: "xfs"}, options: "rw,nobarrier", danger: "barriers"},
		{mount: mount{kind: "btrfs"}},
		{mount: mount{kind: "zfs"}},
		{mount: mount{kind: "f2fs"}, options: "fsync_mode=nobarrier", danger: "barriers"},
		{mount: mount{kind: "tmpfs"}, danger: "memory"},
		{mount: mount{kind: "nfs4"}, danger: "server"},
		{mount: mount{kind: "fuse.glusterfs"}, danger: "server"},
		{mount: mount{kind: "fuse.sshfs"}, danger: "program"},
		{mount: mount{kind: "fuseblk"}, danger: "program"},
		{mount: mount{kind: "overlay"}, danger: "volume"},
		{mount: mount{kind: "vfat"}, danger: "nothing is known"},
	}
	for _, tt := range tests {
		tt.mount.options = strings.Split(tt.options, ",")
		got := tt.mount.judge()
		if got.Ordered != tt.ordered {
			t.Errorf("%s %s: ordered is %v", tt.mount.kind, tt.options, got.Ordered)
		}
		if tt.danger == "" && len(got.Dangers) > 0 || tt.danger != "" && len(got.Dangers) != 1 ||
			!slices.ContainsFunc(append(got.Dangers, ""), func(d string) bool { return strings.Contains(d, tt.danger) }) {
			t.Errorf("%s %s: dangers %q", tt.mount.kind, tt.options, got.Dangers)
		}
	}
}

func TestProbe(t *testing.T) {
	got, err := Probe("/proc")
	if err != nil || got.Type != "proc" || got.Mount != "/proc" || len(got.Dangers) == 0 {
		t.Errorf("/proc: %+v, %v", got, err)
	}
	got, err = Probe(t.TempDir())
	if err != nil || got.Type == "" || got.Mount == "" {
		t.Errorf("a folder: %+v, %v", got, err)
	}
	t.Logf("here: %+v", got)
	if _, err := Probe("/nonexistent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}
