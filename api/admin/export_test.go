package admin

import (
	"maps"
	"slices"
)

// Routes returns every administrative path with its methods, as "GET /path".
func Routes() []string {
	all := new(administration).routes()
	maps.Copy(all, (&auditAdmin{new(administration)}).routes())
	maps.Copy(all, (&fleetAdmin{administration: new(administration)}).routes())
	maps.Copy(all, (&troubleAdmin{administration: new(administration)}).routes())
	maps.Copy(all, (&webhookAdmin{administration: new(administration)}).routes())
	var list []string
	for path, ms := range all {
		for method := range ms {
			list = append(list, method+" "+path)
		}
	}
	slices.Sort(list)
	return list
}
