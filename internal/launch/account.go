package launch

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// Lookup returns the account of this host called name.
func Lookup(name string) (Account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return Account{}, err
	}
	a := Account{Name: u.Username, Home: u.HomeDir}
	if a.UID, err = strconv.Atoi(u.Uid); err != nil {
		return a, err
	}
	if a.GID, err = strconv.Atoi(u.Gid); err != nil {
		return a, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return a, err
	}
	for _, g := range groups {
		id, err := strconv.Atoi(g)
		if err != nil {
			return a, err
		}
		a.Groups = append(a.Groups, id)
	}
	return a, nil
}

// Exec returns a Start that has this program run again, with args and the home of
// the account. It becomes the account between fork and exec: in a process of many
// threads a user cannot be changed for one of them alone.
func Exec(args ...string) func(Account, *os.File) (func() error, error) {
	return func(a Account, conn *os.File) (func() error, error) {
		groups := make([]uint32, len(a.Groups))
		for i, g := range a.Groups {
			groups[i] = uint32(g)
		}
		cmd := &exec.Cmd{
			Path:        "/proc/self/exe", // not by a name that is another's after an upgrade
			Args:        append(append([]string{"postern"}, args...), a.Home),
			Env:         []string{},
			Dir:         "/",
			ExtraFiles:  []*os.File{conn},
			SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(a.UID), Gid: uint32(a.GID), Groups: groups}},
		}
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("exec: %w", err)
		}
		return cmd.Wait, nil
	}
}
