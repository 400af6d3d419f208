package queue

import "context"

// Peers is how processes of a fleet ask each other: what only a node itself knows is asked of it. A
// backend that one process uses alone has nothing of the kind.
type Peers interface {
	// Ask puts a question to nodes and returns the answers that came before ctx ended; who did not
	// answer has no entry. An error means that nobody could be asked.
	Ask(ctx context.Context, nodes []NodeID, question []byte) (map[NodeID][]byte, error)
	// Questions delivers what node is asked, until ctx ends; then the channel is closed.
	Questions(ctx context.Context, node NodeID) (<-chan Question, error)
}

// Question is what another process asks. Who does not answer leaves the asker waiting until its
// patience ends.
type Question struct {
	Body   []byte
	Answer func(ctx context.Context, body []byte) error
}
