//! Arrays from numpy's `.npz` files (a zip of `.npy`), for `bdl grad`.
//!
//! Format: NumPy Enhancement Proposal 1 (magic, version, header as a Python dictionary, raw elements). Read: little-endian `f4 f8
//! i4 i8 u1`, `bool`, C order. Everything else is refused by name.

use bdl_train::{Array, Values};
use std::io::{Cursor, Read};
use std::path::Path;

/// All arrays of a file by name, or a sentence that says what is wrong with it.
pub fn read(path: &Path) -> Result<Vec<Array>, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|e| format!("could not read `{shown}`: {e}"))?;
    let mut archive =
        zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("`{shown}` is not an npz file: {e}"))?;
    let mut arrays = Vec::new();
    for at in 0..archive.len() {
        let mut file = archive.by_index(at).map_err(|e| format!("`{shown}` is damaged: {e}"))?;
        let name = file.name().trim_end_matches(".npy").to_string();
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|e| format!("`{name}` in `{shown}` is damaged: {e}"))?;
        arrays.push(parse(&name, &content).map_err(|what| format!("`{name}` in `{shown}`: {what}"))?);
    }
    Ok(arrays)
}

pub fn parse(name: &str, bytes: &[u8]) -> Result<Array, String> {
    let damaged = || "it is cut short".to_string();
    if bytes.get(..6) != Some(b"\x93NUMPY") {
        return Err("it is not an npy array".into());
    }
    let version = *bytes.get(6).ok_or_else(damaged)?;
    let (length, start) = if version == 1 {
        let field = bytes.get(8..10).ok_or_else(damaged)?;
        (usize::from(u16::from_le_bytes([field[0], field[1]])), 10)
    } else {
        let field = bytes.get(8..12).ok_or_else(damaged)?;
        (u32::from_le_bytes([field[0], field[1], field[2], field[3]]) as usize, 12)
    };
    let header = bytes.get(start..start + length).ok_or_else(damaged)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text".to_string())?;
    let shape = shape_of(header).ok_or("its header has no shape")?;
    let kind = quoted_after(header, "'descr'").ok_or("its header has no type")?;
    if value_after(header, "'fortran_order'").is_some_and(|v| v.starts_with("True")) && shape.len() > 1 {
        return Err("it is in Fortran order; store it with numpy.ascontiguousarray".into());
    }
    let count: usize = shape.iter().product();
    let data = &bytes[start + length..];
    let values = match kind {
        "<f4" => Values::F32(elements(data, count)?.map(f32::from_le_bytes).collect()),
        "<f8" => Values::F64(elements(data, count)?.map(f64::from_le_bytes).collect()),
        "<i4" => Values::I32(elements(data, count)?.map(i32::from_le_bytes).collect()),
        "<i8" => {
            let narrow =
                |b| i32::try_from(i64::from_le_bytes(b)).map_err(|_| "a number does not fit 32 bits".to_string());
            Values::I32(elements(data, count)?.map(narrow).collect::<Result<_, _>>()?)
        }
        "|b1" | "|u1" => Values::I32(elements::<1>(data, count)?.map(|[b]| i32::from(b)).collect()),
        other => return Err(format!("its type {other} is not one of float32, float64, int32, int64, bool")),
    };
    Ok(Array { name: name.to_string(), shape, values })
}

fn elements<const N: usize>(data: &[u8], count: usize) -> Result<impl Iterator<Item = [u8; N]>, String> {
    let wanted = count.checked_mul(N).ok_or("its shape overflows")?;
    let data = data.get(..wanted).ok_or_else(|| format!("it holds {} bytes, its shape needs {wanted}", data.len()))?;
    Ok(data.chunks_exact(N).map(|chunk| {
        let mut bytes = [0; N];
        bytes.copy_from_slice(chunk);
        bytes
    }))
}

fn value_after<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let rest = &header[header.find(key)? + key.len()..];
    Some(rest.trim_start_matches([':', ' ']))
}

fn quoted_after<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let rest = value_after(header, key)?.strip_prefix('\'')?;
    rest.split('\'').next()
}

fn shape_of(header: &str) -> Option<Vec<usize>> {
    let rest = value_after(header, "'shape'")?.strip_prefix('(')?;
    let inside = &rest[..rest.find(')')?];
    inside.split(',').map(str::trim).filter(|n| !n.is_empty()).map(|n| n.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }

    #[test]
    fn arrays_come_with_their_shape() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        zip.start_file("x.npy", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&npy("<f4", "(2, 1)", &[1.5f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat())).unwrap();
        zip.start_file("y.npy", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&npy("<i8", "(2,)", &[3i64.to_le_bytes(), (-1i64).to_le_bytes()].concat())).unwrap();
        zip.finish().unwrap();
        let arrays = read(&path).unwrap();
        assert_eq!(arrays[0], Array { name: "x".into(), shape: vec![2, 1], values: Values::F32(vec![1.5, -2.0]) });
        assert_eq!(arrays[1], Array { name: "y".into(), shape: vec![2], values: Values::I32(vec![3, -1]) });
    }

    #[test]
    fn what_is_not_an_array_is_refused() {
        assert!(parse("x", b"junk").unwrap_err().contains("not an npy"));
        assert!(parse("x", &npy("<f4", "(4,)", &[0; 8])).unwrap_err().contains("holds 8 bytes, its shape needs 16"));
        assert!(parse("x", &npy("<c8", "(1,)", &[0; 8])).unwrap_err().contains("<c8"));
        let whole = npy("<f8", "()", &1.0f64.to_le_bytes());
        for length in 0..whole.len() {
            assert!(parse("x", &whole[..length]).is_err(), "cut to {length}");
        }
    }
}
