//go:build !linux

package bitcoin

import "syscall"

// dieWithParent can do nothing on this system: a killed test leaves its daemons.
func dieWithParent(*syscall.SysProcAttr) {}
