// Package fence has a process give up, by Landlock, what it does not need of the file
// system. Whoever takes it over then finds no other mail, no keys and no homes. What is
// given up cannot be had again.
package fence

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// A Fence is what the process may still reach of the file system, once it has all
// its sockets. All are paths; what is not there is left out.
type Fence struct {
	Read  []string // files, and folders with all below them
	Write []string // folders with all below them
	Names []string // folders in which sockets come and go
	List  []string // folders of which the names may be read
}

// leastLandlock is the first version in which a file may be linked from one
// folder into another, which a delivery does.
const leastLandlock = 2

// Close gives up all that is outside, for the whole process and for good. It returns
// ErrNoLandlock where the kernel cannot do that.
func (f Fence) Close() error {
	const (
		read  = ll.AccessFSReadFile | ll.AccessFSReadDir
		names = ll.AccessFSReadDir | ll.AccessFSMakeSock | ll.AccessFSRemoveFile
	)
	if !Possible() {
		return ErrNoLandlock
	}
	rules := []landlock.Rule{
		landlock.RWFiles("/dev/null").IgnoreIfMissing(),
		landlock.RWDirs(there(f.Write)...).WithRefer(),
		landlock.PathAccess(names, there(f.Names)...),
		landlock.PathAccess(ll.AccessFSReadDir, there(f.List)...),
	}
	for _, path := range there(f.Read) {
		rights := landlock.AccessFSSet(read)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			rights = ll.AccessFSReadFile
		}
		rules = append(rules, landlock.PathAccess(rights, path))
	}
	return landlock.V5.BestEffort().RestrictPaths(rules...)
}

// ErrNoLandlock says that the process can reach what its user can.
var ErrNoLandlock = fmt.Errorf("the kernel offers no Landlock of version %d (Linux 5.19) or newer", leastLandlock)

// Possible reports whether the kernel can close a fence.
func Possible() bool {
	version, err := ll.LandlockGetABIVersion()
	return err == nil && version >= leastLandlock
}

// there returns the paths that the user can open: to others no rule can be made, and
// none is needed.
func there(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err != nil
	})
}

// Within reports whether path can be written inside the fence.
func (f Fence) Within(path string) bool {
	return slices.ContainsFunc(f.Write, func(dir string) bool { return isBelow(path, dir) })
}

func isBelow(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// NoNewPrivileges has the process, and whatever it starts, get no more rights by
// starting a program than it has.
func NoNewPrivileges() error { return ll.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }
