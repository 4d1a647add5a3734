# posture as the CronJob in deploy/ runs it. The steps are in deploy/image.sh, which the tests run too.
#
#     docker build --tag posture:0.1.0 .

ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /source
COPY . .
RUN deploy/image.sh /source /opt/posture

FROM ${PYTHON}
LABEL org.opencontainers.image.title="posture" \
      org.opencontainers.image.description="Kubernetes security posture drift detector" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/posture /opt/posture
# PYTHONSAFEPATH: no module is ever imported from the folder that it is run in. The root file system may be read-only:
# only the folder of the database is written to, and /tmp where SQLite sorts more than memory should hold.
ENV PATH=/opt/posture/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    POSTURE_DB=/var/lib/posture/posture.db
WORKDIR /
# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
ENTRYPOINT ["posture"]
CMD ["scan"]
