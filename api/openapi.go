package api

import (
	_ "embed"
	"net/http"
)

// openAPI describes every operation (OpenAPI 3.1).
//
//go:embed openapi.json
var openAPI []byte

// openAPIPath is where it is served, for everybody.
const openAPIPath = "/openapi.json"

// serveOpenAPI answers GET and HEAD; a browser's page of another origin may read it too.
func (a *API) serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	a.cors.apply(w.Header(), r)
	writeJSON(w, http.StatusOK, openAPI)
}
