package process

import (
	"cmp"
	"os/user"
	"strconv"
	"syscall"
)

// FindAccount returns a user of /etc/passwd, and what a program needs to run as that user: with the user's groups, and with another
// group in the place of the user's own. Both can be numbers; an empty user is root.
func FindAccount(name, group string) (*user.User, *syscall.Credential, error) {
	u, err := user.Lookup(cmp.Or(name, "root"))
	if byID, errID := user.LookupId(name); err != nil && errID == nil {
		u, err = byID, nil
	}
	if err != nil {
		return nil, nil, err
	}
	g, err := user.LookupGroupId(cmp.Or(group, u.Gid))
	if byName, errName := user.LookupGroup(group); errName == nil {
		g, err = byName, nil
	}
	if err != nil && group != "" {
		return nil, nil, err
	} else if err != nil {
		g = &user.Group{Gid: u.Gid} // which need not be in /etc/group
	}
	number := func(id string) uint32 {
		n, _ := strconv.ParseUint(id, 10, 32) // package user has checked it
		return uint32(n)
	}
	c := &syscall.Credential{Uid: number(u.Uid), Gid: number(g.Gid)}
	groups, _ := u.GroupIds() // without /etc/group none
	for _, id := range groups {
		c.Groups = append(c.Groups, number(id))
	}
	return u, c, nil
}
