"""Uploads a file as a program would that uses tuspy, and prints where it is.

Usage: python upload.py ENDPOINT TOKEN CONVERSATION FILE
"""

import sys

from tusclient.client import TusClient

endpoint, token, conversation, file = sys.argv[1:]

uploader = TusClient(endpoint, headers={"Authorization": f"Bearer {token}"}).uploader(
    file,
    chunk_size=4 * 1024 * 1024,
    metadata={
        "filename": "large.bin",
        "filetype": "application/octet-stream",
        "conversation": conversation,
    },
    # The server is gone for a while, and the machine may be busy.
    retries=120,
    retry_delay=0.5,
    upload_checksum=True,
)
uploader.upload()
print(uploader.url)
