package bitcoin

import "syscall"

// dieWithParent has the kernel end the daemon when its parent ends.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
