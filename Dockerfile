# One image for every process; docker-compose.yml says which one runs.
FROM python:3.12-slim AS packages
ARG REQUIREMENTS=requirements.txt
COPY requirements*.txt ./
RUN python -m venv /opt/millrace \
 && /opt/millrace/bin/pip install --no-cache-dir -r ${REQUIREMENTS} \
 && rm -rf /opt/millrace/lib/python3.12/site-packages/pip*

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home --home-dir /data millrace
COPY --from=packages /opt/millrace /opt/millrace
WORKDIR /app
COPY . .
# its user may write no compiled files, and a start without them takes three times as long
RUN /opt/millrace/bin/python -m compileall -q .
USER millrace
VOLUME /data
ENV PATH=/opt/millrace/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DATABASE_URL=sqlite:////data/millrace.db \
    REST_HOST=0.0.0.0 \
    GRPC_HOST=0.0.0.0 \
    LOG_FORMAT=json
EXPOSE 8000 50051
CMD ["python", "cli.py", "serve"]
