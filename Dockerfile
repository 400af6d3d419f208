# A static binary with time zones inside, run by nobody in particular. Build: docker build -t trackchat .
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /out/ ./cmd/trackchat ./cmd/trackersim \
 && install -d -o 65532 -g 65532 -m 0700 /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/trackchat /out/trackersim /usr/local/bin/
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV TRACKCHAT_STORE_PATH=/data TRACKCHAT_API_LISTEN=:8080 TRACKCHAT_NODE=trackchat
VOLUME /data
EXPOSE 8080 6808 20332 5027 6809 5034 5093
# The admin listener stays on the container's own loopback: publish it only with a token (TRACKCHAT_ADMIN_LISTEN, TRACKCHAT_ADMIN_TOKEN).
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/local/bin/trackchat", "check", "--ready"]
ENTRYPOINT ["/usr/local/bin/trackchat"]
CMD ["serve"]
