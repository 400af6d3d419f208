//go:build !unix

package load

import (
	"math"
	"time"
)

// maxDescriptors is not known here.
func maxDescriptors() uint64 { return math.MaxUint64 }

// ownCPU is not known here.
func ownCPU() time.Duration { return 0 }
