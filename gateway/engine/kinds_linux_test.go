package engine_test

import "trackchat/gateway/engine"

func systemKinds() []kind {
	return []kind{{"reactor", engine.NewReactor, false}}
}
