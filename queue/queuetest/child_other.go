//go:build !linux

package queuetest

import "os/exec"

// DieWithParent leaves a child process as it is: only Linux can kill it when this one ends.
func DieWithParent(cmd *exec.Cmd) *exec.Cmd { return cmd }
