package navixy

// ObjectMember returns the raw value of a name in a JSON object.
func ObjectMember(object []byte, name string) (string, bool) {
	s, err := parseObject(object)
	if err != nil {
		return "", false
	}
	v, ok := s.get(name)
	return string(v.raw), ok
}
