//! Images: thumbnails, and images built to break decoders.

use super::*;

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = u32::try_from(data.len()).unwrap().to_be_bytes().to_vec();
    let named = [&name[..], data].concat();
    chunk.extend_from_slice(&named);
    chunk.extend_from_slice(&crc32fast::hash(&named).to_be_bytes());
    chunk
}

/// Builds a grey PNG from a header, further chunks and compressed lines.
fn png_of(width: u32, height: u32, more: &[Vec<u8>], lines: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    png.extend(chunk(b"IHDR", &header));
    png.extend(more.concat());
    png.extend(chunk(b"IDAT", &miniz_oxide::deflate::compress_to_vec_zlib(lines, 6)));
    png.extend(chunk(b"IEND", b""));
    png
}

/// Builds a black PNG.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let lines = vec![0; (width as usize + 1) * height as usize];
    png_of(width, height, &[], &lines)
}

fn image() -> String {
    about("a.png", "image/png", CONVERSATION)
}

#[tokio::test]
async fn an_image_has_dimensions_and_a_thumbnail_for_members() {
    let (site, server) = start("thumbnail_side = 64", "").await;
    let port = server.port;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let blob = upload(port, "ann", &image(), &png(300, 150)).await;
    let signal = loop {
        let frame = ann.next().await;
        if frame["type"] == "signal" {
            break frame;
        }
    };
    assert_eq!(
        (&signal["plugin"], &signal["name"]),
        (&json!("files"), &json!("inspected"))
    );
    let look = signal["payload"].clone();
    let thumbnail = look["thumbnail"].as_str().unwrap();
    let size = json!({"blob": blob, "state": "ready", "width": 300, "height": 150, "thumbnail": thumbnail,
        "thumbnail_width": 64, "thumbnail_height": 32});
    assert_eq!(look, size);
    let ack = send(&mut ann, "m1", "image", json!({"blob": blob})).await;
    let content = bob.next().await["event"]["content"].clone();
    assert_eq!(content, ack["content"]);
    for member in ["width", "height", "thumbnail", "thumbnail_width", "thumbnail_height"] {
        assert_eq!(content[member], look[member], "{member}");
    }
    let small = read(port, "bob", thumbnail).await;
    assert_eq!(small.header("content-type"), Some("image/jpeg"));
    assert!(small.body.starts_with(&[0xff, 0xd8, 0xff]));
    assert_eq!(read(port, "eve", thumbnail).await.status, 403);
    recall(&mut ann, "r1", &json!(1)).await;
    becomes(port, thumbnail, 404).await;
    assert_eq!(read(port, "bob", &blob).await.status, 404);
    never_failed(&site).await;
    server.stop().await;
}

#[tokio::test]
async fn an_image_sent_before_its_inspection_is_annotated_after_it() {
    let (_site, server) = start("", "").await;
    let port = server.port;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    // The inspection of the first ones takes some time.
    for index in 0..6 {
        let blob = upload(port, "ann", &image(), &png(3_000, 2_000)).await;
        let ack = send(&mut ann, &format!("m{index}"), "image", json!({"blob": blob})).await;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
    let begun = Instant::now();
    loop {
        let page = json!({"type": "history", "id": "h", "conversation": CONVERSATION});
        let events = bob.request(page).await["events"].clone();
        let sizes = events
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["type"] == "message")
            .map(|event| {
                let preview = &event["annotations"][0]["value"];
                match event["content"]["width"].as_u64() {
                    Some(width) => Some(width),
                    None => preview["width"].as_u64(),
                }
            });
        if sizes.collect::<Vec<_>>() == [Some(3_000); 6] {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "{events}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn image_bombs_are_unreadable_and_nothing_breaks() {
    let (site, server) = start("", "").await;
    let port = server.port;
    let mut ann = server.sign_in("ann").await;
    // A text and a profile that expand to 64 MB.
    let zeros = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; 64_000_000], 6);
    let text = chunk(b"zTXt", &[&b"Comment\0\0"[..], &zeros].concat());
    let profile = chunk(b"iCCP", &[&b"Profile\0\0"[..], &zeros].concat());
    let few = vec![0; 101 * 100];
    // A frame of 16,383 by 16,383 pixels in a picture of 10 by 10.
    let webp = b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x09\0\0\x09\0\0VP8 \x12\0\0\0\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f\0\0\0\0\0\0\0\0";
    let gif = b"GIF89a\x60\xea\x60\xea\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x60\xea\x60\xea\0\x02\x02\x44\x01\0;";
    let jpeg = b"\xff\xd8\xff\xc0\0\x11\x08\xea\x60\xea\x60\x03\x01\x11\0\x02\x11\0\x03\x11\0\xff\xd9";
    for (name, bytes, state) in [
        (
            "a header of 60,000 by 60,000",
            png_of(60_000, 60_000, &[], &few),
            "unreadable",
        ),
        ("no pixels", png_of(0, 100, &[], &few), "unreadable"),
        (
            "fewer lines than it says",
            png_of(7_000, 7_000, &[], &few),
            "unreadable",
        ),
        (
            "more lines than it says",
            png_of(100, 100, &[], &vec![0; 64_000_000]),
            "ready",
        ),
        ("49 million pixels in some kilobytes", png(7_000, 7_000), "ready"),
        ("50 million pixels in one line", png(49_999_999, 1), "ready"),
        ("a large text", png_of(100, 100, &[text], &few), "ready"),
        ("a large profile", png_of(100, 100, &[profile], &few), "ready"),
        ("a frame that is larger than the whole", webp.to_vec(), "ready"),
        ("a GIF of 60,000 by 60,000", gif.to_vec(), "unreadable"),
        ("a JPEG of 60,000 by 60,000", jpeg.to_vec(), "unreadable"),
        ("nothing", Vec::new(), "unreadable"),
        (
            "a page",
            b"<html><script>alert()</script></html>".to_vec(),
            "unreadable",
        ),
        ("a drawing", b"<svg onload=\"alert()\"/>".to_vec(), "unreadable"),
    ] {
        let blob = upload(port, "ann", &image(), &bytes).await;
        let file = inspected(&mut ann, &blob).await;
        assert_eq!(file["state"], state, "{name}: {file}");
        // It stays a file.
        assert!(read(port, "bob", &blob).await.body == bytes, "{name}");
    }
    let dead = site.operate("GET", "/v1/plugins/files/dead-letters").await;
    assert_eq!(dead.json()["dead_letters"], json!([]), "{}", dead.body);
    never_failed(&site).await;
    server.stop().await;
}

#[tokio::test]
async fn an_inspection_interrupted_by_a_kill_runs_again() {
    let (site, mut server) = start("", "").await;
    let mut blobs = Vec::new();
    // Killed while some are pending, and one is probably running.
    for _ in 0..3 {
        for _ in 0..3 {
            blobs.push(upload(server.port, "ann", &image(), &png(5_000, 5_000)).await);
        }
        server.kill().await;
        server = site.start().await;
    }
    let mut ann = server.sign_in("ann").await;
    for blob in &blobs {
        let file = inspected(&mut ann, blob).await;
        assert_eq!(
            (&file["state"], &file["thumbnail_width"]),
            (&json!("ready"), &json!(480))
        );
        let thumbnail = file["thumbnail"].as_str().unwrap();
        assert_eq!(read(server.port, "bob", thumbnail).await.status, 200);
    }
    server.stop().await;
}
