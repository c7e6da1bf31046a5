package config

import (
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// A Storage says how a mailbox is kept.
type Storage struct {
	Format  string // Maildir or Mbox
	Quota   int64  // what its user may store, in octets; 0: any number
	Folders string // NoFolders or DetailFolders
}

// The formats of mailboxes.
const (
	Maildir = "maildir"
	Mbox    = "mbox"
)

// Where mail for a sub-address goes.
const (
	NoFolders     = "none"   // to the others
	DetailFolders = "detail" // to the folder of that name
)

// What the sender is told whose message does not fit into a quota.
const (
	Permanent = "permanent" // 552 5.2.2
	Temporary = "temporary" // 452 4.2.2
)

// How the names of folders are written on disk.
const (
	UTF7 = "utf-7" // modified (RFC 3501, section 5.1.3)
	UTF8 = "utf-8"
)

// mailboxes reads how all mailboxes are kept.
func (r reader) mailboxes(t *table, mda *MDA) {
	r.path(t, "store", &mda.Store)
	r.path(t, "launcher", &mda.Launcher)
	list(t, "launch_users", fmt.Sprintf("launch_users = [%q]", MDAUser), &mda.LaunchUsers, parseUser)
	t.count("launch_min_uid", &mda.LaunchMinUID, 1, 1<<31-1)
	list(t, "homes", `homes = ["/home"]`, &mda.Homes, parseMailboxPath)
	t.oneOf("durability", &mda.Durability, Full, Ordered)
	parsed(t, "group", `group = "mail"`, &mda.Group, parseGroup)
	t.flag("hard_links", &mda.HardLinks)
	t.oneOf("folder_names", &mda.FolderNames, UTF7, UTF8)
	t.oneOf("mbox_format", &mda.MboxFormat, "mboxrd", "mboxo", "mboxcl2")
	list(t, "mbox_locks", `mbox_locks = ["dotlock", "fcntl"]`, &mda.MboxLocks, parseLock)
	if len(mda.MboxLocks) == 0 {
		t.complain("mbox_locks", hinted{"without a lock messages are lost", "name what your readers use, in their order"})
	}
	t.oneOf("quota_reply", &mda.QuotaReply, Permanent, Temporary)
	list(t, "quota_warn", `quota_warn = ["80%", "95%"]`, &mda.QuotaWarn, parsePercentage)
	slices.Sort(mda.QuotaWarn)
	r.maybePath(t, "quota_message", "quota.txt", &mda.QuotaMessage)
}

func parseLock(s string) (string, error) {
	if !slices.Contains([]string{"dotlock", "fcntl", "flock"}, s) {
		return "", hinted{fmt.Sprintf("%q is no lock", s), `write "dotlock", "fcntl" or "flock"`}
	}
	return s, nil
}

func parsePercentage(s string) (int, error) {
	digits, ok := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 1 || n > 99 {
		return 0, hinted{fmt.Sprintf("%q is not between 1%% and 99%%", s), `write "80%"`}
	}
	return n, nil
}

func defaultStorage() Storage { return Storage{Format: Maildir, Folders: NoFolders} }

// readStorage reads the keys of a domain, or those of one of its mailboxes that
// replace them; s has what holds without.
func (m *domainMap) readStorage(t *table, s *Storage) {
	t.oneOf("format", &s.Format, Maildir, Mbox)
	t.size("quota", &s.Quota, 0, 1<<60)
	t.oneOf("folders", &s.Folders, NoFolders, DetailFolders)
	if m.nextHop {
		for _, key := range []string{"format", "quota", "folders"} {
			if t.has(key) {
				t.complain(key, hinted{"the mailboxes of this domain are the next hop's", "remove it"})
			}
		}
		return
	}
	if s.Format != Mbox {
		return
	}
	if s.Quota > 0 {
		t.complainAt(t.nearest("quota", "format"), "", hinted{"an mbox cannot have a quota", "write quota = 0, or another format"})
	}
	if s.Folders != NoFolders {
		t.complainAt(t.nearest("folders", "format"), "", hinted{"an mbox has no folders", fmt.Sprintf("write folders = %q, or another format", NoFolders)})
	}
}

// nearest returns the place of the first of keys that t has.
func (t *table) nearest(keys ...string) place {
	for _, key := range keys {
		if t.has(key) {
			return t.at(key).value()
		}
	}
	return place{doc: t.doc, path: t.path}
}

// checkNames notes the mailboxes whose folder would stand where another's mbox
// or its lock belongs.
func (m *domainMap) checkNames() {
	check := func(name string) {
		base, isMbox := strings.CutSuffix(strings.TrimSuffix(name, ".lock"), ".mbox")
		if f := m.exact([]byte(base)); !isMbox || f.name == "" || m.member(base, f).Format != Mbox {
			return
		}
		m.top.doc.flaw(flaw{where: m.places[name], message: fmt.Sprintf("the mailbox %q would be where the mbox of %q is", name, base), hint: "rename one of them, and make an alias of its name"})
	}
	for name := range m.entries {
		check(name)
	}
	for name := range m.names.all {
		check(name)
	}
}

// parseGroup returns the number of a group of this host; none is 0.
func parseGroup(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	number := s
	if strings.Trim(s, "0123456789") != "" {
		g, err := user.LookupGroup(s)
		if err != nil {
			return 0, hinted{fmt.Sprintf("there is no group %q on this host", s), "write the name or the number of one, or \"\" for that of the process"}
		}
		number = g.Gid
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not the number of a group", s)
	}
	return int(n), nil
}
