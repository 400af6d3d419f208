package queue

const NoUpstream = "none"

func (s *Snapshot) Upstreams() int { return 1 }
